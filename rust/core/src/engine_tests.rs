use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::*;
use crate::digest::Algorithm;
use crate::manifest;
use crate::policy::Policy;
use crate::staging::Staging;
use crate::zip::{Directory, Parsed};

impl Engine {
    fn new(job: &Job, workers: usize) -> Self {
        Self::start(job, workers).unwrap()
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that depend on their position with a prime period, with noise that deflate cannot remove.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|i| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(i % 251).unwrap() ^ (noise >> 60) as u8
        })
        .collect()
}

struct Sample {
    bytes: Vec<u8>,
    members: BTreeMap<String, Vec<u8>>,
    directory: Arc<Directory>,
}

fn sample(sizes: &[usize], method: impl Fn(usize) -> CompressionMethod) -> Sample {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut members = BTreeMap::new();
    writer.add_directory("train/", SimpleFileOptions::default()).unwrap();
    for (index, &size) in sizes.iter().enumerate() {
        let name = format!("train/images/{index}.png");
        let data = pattern(size, index as u64);
        writer.start_file(&name, SimpleFileOptions::default().compression_method(method(index))).unwrap();
        writer.write_all(&data).unwrap();
        members.insert(name, data);
    }
    let bytes = writer.finish().unwrap().into_inner();
    let Parsed::Complete(directory) =
        Directory::parse("sample", &bytes.clone().into(), bytes.len() as u64, &Policy::default()).unwrap()
    else {
        panic!("the tail is the whole archive")
    };
    Sample { bytes, members, directory: Arc::new(directory) }
}

fn alternating(index: usize) -> CompressionMethod {
    if index.is_multiple_of(2) { CompressionMethod::Stored } else { CompressionMethod::Deflated }
}

fn md5_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Md5);
    hasher.update(bytes);
    hasher.finish()
}

fn spec(sample: &Sample, folder: &Path, window_bytes: u64) -> Spec {
    Spec {
        name: "sample".into(),
        total: sample.bytes.len() as u64,
        window_bytes,
        file: None,
        digest: Some((Algorithm::Md5, Some(md5_of(&sample.bytes)))),
        unpack: Some(UnpackSpec {
            directory: Arc::clone(&sample.directory),
            staging: Arc::new(Staging::open(&folder.join("staging")).unwrap()),
            records: folder.join("records"),
            spool: folder.join("spool"),
        }),
        untar: None,
        thorough: false,
        redo: None,
    }
}

/// Waits for anything but a moved frontier.
fn next_event(engine: &Engine) -> Event {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing happened");
        for event in engine.wait(PATIENCE).unwrap() {
            if !matches!(event, Event::Moved) {
                return event;
            }
        }
    }
}

fn assert_staged(sample: &Sample, folder: &Path) {
    for (name, data) in &sample.members {
        assert!(std::fs::read(folder.join("staging").join(name)).unwrap() == *data, "{name} differs");
    }
}

fn feed(engine: &Engine, sample: &Sample, span: std::ops::Range<usize>) {
    engine.write(0, span.start as u64, &Bytes::copy_from_slice(&sample.bytes[span]));
}

#[test]
fn pieces_in_any_order_become_the_members_and_the_digest() {
    let sample = sample(&[0, 1, 3000, 70_000, 200_000, 5], alternating);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 1 << 22), None).unwrap();
    let length = sample.bytes.len();
    let mut starts: Vec<usize> = (0..length).step_by(1000).collect();
    starts.sort_by_key(|start| (start * 7919) % 1009);
    for start in starts {
        feed(&engine, &sample, start..length.min(start + 1000));
    }
    let Event::Finished { digest, .. } = next_event(&engine) else { panic!("not finished") };
    assert_eq!(digest.unwrap(), format!("md5:{}", md5_of(&sample.bytes)));
    assert_staged(&sample, folder.path());
    let path = folder.path().join("SHA256SUMS");
    let records = folder.path().join("records");
    let part = manifest::Part { directory: &sample.directory, records: &records, members: None };
    assert_eq!(manifest::write(&path, &[part]).unwrap(), 6);
    let mut expected = Vec::new();
    for (name, data) in &sample.members {
        let mut sha256 = Hasher::new(Algorithm::Sha256);
        sha256.update(data);
        writeln!(expected, "{}  {name}", sha256.finish()).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), expected);
}

#[test]
fn a_damaged_member_is_asked_for_again_and_then_all_is_well() {
    for window in [1 << 22, 40_000] {
        let sample = sample(&[20_000, 300_000, 20_000, 300_001], alternating);
        for broken in 1..=4 {
            let folder = tempfile::tempdir().unwrap();
            let engine = Engine::new(&Job::default(), 2);
            engine.add(spec(&sample, folder.path(), window), None).unwrap();
            let (start, end) = sample.directory.extent(broken);
            let mut damaged = sample.bytes.clone();
            damaged[usize::try_from(end - 100).unwrap()] ^= 1;
            engine.write(0, 0, &damaged.into());
            match next_event(&engine) {
                Event::Damaged { start: from, end: to, error, .. } => {
                    assert_eq!((from, to), (start, end));
                    assert!(error.to_string().contains(&format!("images/{}.png", broken - 1)), "{error}");
                }
                other => panic!("{other:?}"),
            }
            feed(&engine, &sample, usize::try_from(start).unwrap()..usize::try_from(end).unwrap());
            // What lay behind a streamed member is still there, or is asked for like any other gap.
            for (from, to) in engine.missing(0, 0, sample.bytes.len() as u64) {
                feed(&engine, &sample, usize::try_from(from).unwrap()..usize::try_from(to).unwrap());
            }
            assert!(matches!(next_event(&engine), Event::Finished { .. }));
            assert_staged(&sample, folder.path());
            assert_eq!(engine.status(0).arrived, sample.bytes.len() as u64);
        }
    }
}

#[test]
fn a_damaged_member_behind_a_streamed_one_that_went_back_is_asked_for_again() {
    // Stored ones, so that the streamed one is found to be damaged at its very end.
    let sample = sample(&[20_000, 300_000, 20_000, 20_000], |_| CompressionMethod::Stored);
    let mut damaged = sample.bytes.clone();
    for member in [2, 3] {
        let (_, end) = sample.directory.extent(member);
        damaged[usize::try_from(end - 100).unwrap()] ^= 1;
    }
    let length = sample.bytes.len();
    let (_, behind) = sample.directory.extent(3);
    // Pieces of many sizes, so that the two are found in either order.
    for piece in (10_000..60_000).step_by(1_000) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(&Job::default(), 2);
        engine.add(spec(&sample, folder.path(), 40_000), None).unwrap();
        let write = |bytes: &[u8], span: std::ops::Range<usize>| {
            engine.write(0, span.start as u64, &Bytes::copy_from_slice(&bytes[span]));
        };
        for start in (0..length).step_by(piece) {
            write(&damaged, start..length.min(start + piece));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "waits for ever with pieces of {piece}");
            let events = engine.wait(Duration::from_millis(20)).unwrap();
            if events.iter().any(|event| matches!(event, Event::Finished { .. })) {
                break;
            }
            for (from, to) in engine.missing(0, 0, behind) {
                write(&sample.bytes, usize::try_from(from).unwrap()..usize::try_from(to).unwrap());
            }
        }
        assert_staged(&sample, folder.path());
    }
}

#[test]
fn a_member_whose_last_two_gaps_are_filled_at_once_is_unpacked_once() {
    let sample = sample(&[100_000, 5_000], alternating);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 1 << 20), None).unwrap();
    for span in [10_000..20_000, 40_000..50_000, 70_000..80_000] {
        feed(&engine, &sample, span);
    }
    feed(&engine, &sample, 0..sample.bytes.len());
    assert!(matches!(next_event(&engine), Event::Finished { .. }));
    assert_eq!(engine.status(0).unpacked, 2);
    assert_staged(&sample, folder.path());
}

#[test]
fn a_streamed_member_that_breaks_in_the_middle_leaves_no_file() {
    let sample = sample(&[300_000], |_| CompressionMethod::Deflated);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 40_000), None).unwrap();
    let (start, end) = sample.directory.extent(1);
    let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
    let mut damaged = sample.bytes.clone();
    let middle = usize::midpoint(start, end);
    damaged[middle..middle + 2000].fill(0xff);
    // Not to its end, so that it is streamed.
    engine.write(0, 0, &Bytes::copy_from_slice(&damaged[..start + 60_000]));
    while !folder.path().join("staging/train/images/0.png").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    engine.write(0, (start + 60_000) as u64, &Bytes::copy_from_slice(&damaged[start + 60_000..end]));
    assert!(matches!(next_event(&engine), Event::Damaged { .. }));
    assert!(!folder.path().join("staging/train/images/0.png").exists());
}

#[test]
fn nobody_is_at_an_archive_that_was_given_up_and_rests() {
    let sample = sample(&[50_000; 40], alternating);
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(&Job::default(), 2);
        let number = engine.add(spec(&sample, folder.path(), 1 << 22), None).unwrap();
        feed(&engine, &sample, 0..sample.bytes.len());
        std::thread::sleep(Duration::from_micros(500));
        engine.abandon(number);
        engine.rest(number);
        std::fs::remove_dir_all(folder.path().join("staging")).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(!folder.path().join("staging").exists());
    }
}

#[test]
fn a_member_that_stays_damaged_fails_the_archive_by_name() {
    let mut sample = sample(&[5000, 5000], alternating);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 1 << 20), None).unwrap();
    let (start, end) = sample.directory.extent(2);
    let span = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
    sample.bytes[span.end - 10] ^= 1;
    feed(&engine, &sample, 0..sample.bytes.len());
    let mut again = 0;
    loop {
        match next_event(&engine) {
            Event::Damaged { .. } => {
                again += 1;
                feed(&engine, &sample, span.clone());
            }
            Event::Failed { error: Error::Member { member, .. }, .. } => {
                assert_eq!(member, "train/images/1.png");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(again, 3);
}

#[test]
fn another_digest_over_good_members_fails_the_archive() {
    let sample = sample(&[5000], alternating);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 1);
    let mut spec = spec(&sample, folder.path(), 1 << 20);
    spec.digest = Some((Algorithm::Md5, Some("0".repeat(32))));
    engine.add(spec, None).unwrap();
    feed(&engine, &sample, 0..sample.bytes.len());
    assert!(matches!(next_event(&engine), Event::Failed { error: Error::Digest { .. }, .. }));
}

#[test]
fn a_plain_file_of_unknown_size_is_written_in_order_and_hashed() {
    let data = pattern(3_000_000, 9);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.part");
    for algorithm in ["md5", "sha1", "sha256", "sha512", "blake3", "crc32"] {
        let engine = Engine::new(&Job::default(), 2);
        let algorithm = Algorithm::parse(algorithm).unwrap();
        let spec = Spec {
            name: "file".into(),
            total: UNKNOWN_BYTES,
            window_bytes: 1 << 20,
            file: Some(path.clone()),
            digest: Some((algorithm, None)),
            unpack: None,
            untar: None,
            thorough: false,
            redo: None,
        };
        engine.add(spec, None).unwrap();
        for (index, chunk) in data.chunks(65_537).enumerate() {
            engine.write(0, (index * 65_537) as u64, &Bytes::copy_from_slice(chunk));
        }
        engine.set_total(0, data.len() as u64);
        let Event::Finished { digest, .. } = next_event(&engine) else { panic!("not finished") };
        let mut whole = Hasher::new(algorithm);
        whole.update(&data);
        assert_eq!(digest.unwrap(), format!("{}:{}", algorithm.name(), whole.finish()));
        assert!(std::fs::read(&path).unwrap() == data);
    }
}

#[test]
fn cancelling_ends_waiting_and_workers() {
    let engine = Arc::new(Engine::new(&Job::default(), 2));
    let waiting = {
        let engine = Arc::clone(&engine);
        std::thread::spawn(move || engine.wait(PATIENCE))
    };
    engine.cancel();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled)));
    engine.close();
}

/// Feeds a part, takes the saved state, ends the engine without warning, and goes on with a new one.
fn interrupt_at(sample: &Sample, cuts: &[usize], window: u64, kept_file: bool) {
    let folder = tempfile::tempdir().unwrap();
    let length = sample.bytes.len();
    let spec = || {
        let mut spec = spec(sample, folder.path(), window);
        spec.file = kept_file.then(|| folder.path().join("kept.zip"));
        spec
    };
    let mut saved: Option<String> = None;
    for &cut in cuts {
        let engine = Engine::new(&Job::default(), 2);
        engine.add(spec(), saved.as_deref()).unwrap();
        let from = usize::try_from(engine.status(0).frontier).unwrap();
        let to = length.min(from + cut);
        for start in (from..to).step_by(7000) {
            feed(&engine, sample, start..to.min(start + 7000));
        }
        engine.wait(Duration::from_millis(5)).unwrap();
        saved = Some(engine.save(0));
        engine.cancel();
    }
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(), saved.as_deref()).unwrap();
    let from = usize::try_from(engine.status(0).frontier).unwrap();
    feed(&engine, sample, from..length);
    let event = next_event(&engine);
    assert!(matches!(event, Event::Finished { .. }), "{event:?}");
    assert_staged(sample, folder.path());
    if kept_file {
        assert!(std::fs::read(folder.path().join("kept.zip")).unwrap() == sample.bytes);
    }
    let records = folder.path().join("records");
    let part = manifest::Part { directory: &sample.directory, records: &records, members: None };
    manifest::write(&folder.path().join("sums"), &[part]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_run_ended_anywhere_goes_on_from_its_saved_state(
        cuts in prop::collection::vec(0_usize..400_000, 0..6),
        window in prop::sample::select(vec![20_000_u64, 300_000, 4_000_000]),
        kept_file: bool,
    ) {
        let sample = sample(&[50_000, 150_000, 3, 90_000, 400_000], alternating);
        interrupt_at(&sample, &cuts, window, kept_file);
    }
}

#[test]
fn a_saved_state_that_does_not_fit_is_refused() {
    let sample = sample(&[50_000, 60_000], alternating);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 1 << 20), None).unwrap();
    let second = usize::try_from(sample.directory.extent(2).0).unwrap();
    feed(&engine, &sample, 0..second);
    while engine.status(0).frontier < second as u64 {
        engine.wait(Duration::from_millis(10)).unwrap();
    }
    let saved = engine.save(0);
    drop(engine);
    let again =
        |saved: &str| Engine::new(&Job::default(), 1).add(spec(&sample, folder.path(), 1 << 20), Some(saved));
    assert!(again(&saved).is_ok());
    for broken in [
        "",
        "{}",
        &saved[..saved.len() / 2],
        &saved.replace("\"version\":2", "\"version\":3"),
        &saved.replace("\"total\":", "\"total\":1"),
    ] {
        assert!(matches!(again(broken), Err(Error::Unusable(_))), "{broken}");
    }
}

#[test]
fn what_the_disk_has_lost_is_unpacked_again_and_nothing_else() {
    let sample = sample(&[50_000, 60_000, 300_000, 70_000], alternating);
    for window in [1 << 22, 40_000] {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(&Job::default(), 2);
        engine.add(spec(&sample, folder.path(), window), None).unwrap();
        feed(&engine, &sample, 0..sample.bytes.len());
        assert!(matches!(next_event(&engine), Event::Finished { .. }));
        let staged = |index: usize| folder.path().join(format!("staging/train/images/{index}.png"));
        std::fs::write(staged(0), vec![0; 50_000]).unwrap();
        std::fs::write(staged(1), b"shorter").unwrap();
        std::fs::remove_file(staged(2)).unwrap();
        let again = spec(&sample, folder.path(), window);
        let unpack = again.unpack.clone().unwrap();
        let unpacked = Unpacked {
            directory: &unpack.directory,
            staging: &unpack.staging,
            records: &unpack.records,
            workers: 2,
        };
        // Sizes tell of two; the bytes of the third are looked at only when asked for.
        assert_eq!(
            engine.recheck(&unpacked, None, false).unwrap(),
            Lost { members: vec![2, 3], unrecorded: 0 }
        );
        let lost = engine.recheck(&unpacked, None, true).unwrap();
        assert_eq!(lost, Lost { members: vec![1, 2, 3], unrecorded: 0 });
        let redo = Spec { digest: None, redo: Some(lost.members), ..again };
        let number = engine.add(redo, None).unwrap();
        let gaps = engine.missing(number, 0, sample.bytes.len() as u64);
        assert_eq!(gaps, [(sample.directory.extent(1).0, sample.directory.extent(3).1)]);
        for start in (gaps[0].0..gaps[0].1).step_by(7000) {
            let span = usize::try_from(start).unwrap()..usize::try_from(gaps[0].1.min(start + 7000)).unwrap();
            engine.write(number, start, &Bytes::copy_from_slice(&sample.bytes[span]));
        }
        assert!(matches!(next_event(&engine), Event::Finished { .. }));
        assert_staged(&sample, folder.path());
        assert_eq!(engine.recheck(&unpacked, None, true).unwrap(), Lost::default());
    }
}

#[test]
fn after_catching_up_the_digest_has_all_that_was_unpacked() {
    let sample = sample(&[30_000; 40], |_| CompressionMethod::Stored);
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Job::default(), 2);
    engine.add(spec(&sample, folder.path(), 1 << 26), None).unwrap();
    let half = sample.bytes.len() / 2;
    feed(&engine, &sample, 0..half);
    engine.catch_up(PATIENCE);
    let state: serde_json::Value = serde_json::from_str(&engine.save(0)).unwrap();
    let passed = state["passed"].as_u64().unwrap();
    // All but the member that the half ends in.
    assert!(passed > half as u64 - 40_000, "{state}");
    assert_eq!(state["digest"]["position"].as_u64(), Some(passed));
}
