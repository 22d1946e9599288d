//! What the fuzz targets do with their bytes; `properties.rs` runs the same in `cargo test`.
//!
//! Each body takes any bytes at all, and panics only where the core broke a promise.

#![allow(dead_code, reason = "each target uses one body")]
#![allow(clippy::unwrap_used, reason = "these are tests, but not by their attribute")]

pub mod maker;
pub mod metadata;
pub mod tar;

use std::io::Read as _;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fdf256_core::digest::Algorithm;
use fdf256_core::engine::{Engine, Event, Spec, UnpackSpec};
use fdf256_core::name::{self, Encoding};
use fdf256_core::policy::Policy;
use fdf256_core::staging::Staging;
use fdf256_core::stream::Stream;
use fdf256_core::unpack::{Scratch, Whole, unpack_member};
use fdf256_core::zip::{Directory, Method, Parsed};
use fdf256_core::{Error, Job, Result};

/// Archives that unpack to more are parsed and not unpacked: the disk is not what is tested.
const UNPACKED_BYTES_MAX: u64 = 1 << 22;
/// For whatever must happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that decide things, one after the other, and then zeros.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % limit.max(1)
    }
}

pub fn parse(bytes: &[u8], policy: &Policy) -> Result<Directory> {
    let all = Bytes::copy_from_slice(bytes);
    match Directory::parse("fuzz", &all, all.len() as u64, policy)? {
        Parsed::Complete(directory) => Ok(directory),
        Parsed::NeedFrom(offset) => panic!("asks for {offset} although it has everything"),
    }
}

/// Member names: what passes stays under its folder, and folding is done after one time.
pub fn member_name(data: &[u8]) {
    let mut choices = Choices(data);
    let encoding = [Encoding::Utf8, Encoding::Unix, Encoding::Dos][usize::from(choices.byte()) % 3];
    let portable = choices.byte() & 1 != 0;
    let Ok(text) = name::decode(choices.0, encoding) else { return };
    let once = name::folded(&text).into_owned();
    assert_eq!(name::folded(&once), once, "{text:?}");
    if name::check(&text, portable).is_err() {
        return;
    }
    assert!(name::check(&text, false).is_ok(), "portable names are fewer, not more: {text:?}");
    let path = Path::new(text.as_ref());
    assert!(path.is_relative() && path.components().all(|part| matches!(part, Component::Normal(_))));
    assert_eq!(path.components().count(), text.trim_end_matches('/').split('/').count(), "{text:?}");
    assert!(!text.contains(['\\', '\0', '\n']) && !once.starts_with(".fdf256/"), "{text:?}");
}

/// The central directory: whatever passes is in order, without overlap, and can be asked about.
pub fn central_directory(data: &[u8]) {
    let Ok(directory) = parse(data, &Policy::default()) else { return };
    let mut before = 0;
    for index in 0..directory.len() {
        let entry = directory.entry(index);
        let (start, end) = directory.extent(index);
        assert!(before <= start && start < end && end <= directory.start(), "{start}..{end}");
        assert!(start + 30 + entry.raw_name.len() as u64 + entry.compressed_bytes <= end);
        assert!(entry.name() == "./" || name::check(&entry.name(), true).is_ok());
        assert_eq!(
            (directory.first_ending_after(start), directory.first_ending_after(end - 1)),
            (index, index)
        );
        before = end;
    }
    assert!(directory.files() <= directory.len());
    // From a tail only, it asks for more until it has enough, and finds the same.
    let mut from = data.len().saturating_sub(22);
    let tailed = loop {
        let tail = Bytes::copy_from_slice(&data[from..]);
        match Directory::parse("fuzz", &tail, data.len() as u64, &Policy::default()).unwrap() {
            Parsed::Complete(directory) => break directory,
            Parsed::NeedFrom(offset) => {
                let offset = usize::try_from(offset).unwrap();
                assert!(offset < from, "asks for what it has");
                from = offset;
            }
        }
    };
    assert_eq!((tailed.len(), tailed.start()), (directory.len(), directory.start()));
}

/// A whole archive: each member unpacks to what it declares or is refused, and taken in one piece, in
/// several, or with a kill in its middle, it is the same.
pub fn whole_archive(data: &[u8]) {
    let mut choices = Choices(data);
    let seed = choices.byte();
    let bytes = choices.0;
    let policy = Policy { unpacked_bytes_max: UNPACKED_BYTES_MAX, ..Policy::default() };
    let Ok(directory) = parse(bytes, &policy) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut scratch = Scratch::default();
    for index in 0..directory.len().min(64) {
        let whole = unpack_whole(&directory, index, bytes, &folder.path().join("whole"), seed, &mut scratch);
        let streamed = unpack_streamed(&directory, index, bytes, folder.path(), seed, |_| {});
        match (whole, streamed) {
            (Ok(one), Ok(other)) => assert_eq!(one, other, "member {index}"),
            (Err(Error::Member { .. }), Err(Error::Member { .. })) => {}
            (one, other) => panic!("member {index}: {one:?} in one piece, {other:?} in several"),
        }
    }
    only_in(folder.path(), &["whole", "streamed", "spool"]);
}

/// One member whose header is true but for its size, and whose data is anything: what comes out must be
/// what another decompressor makes of it.
pub fn member_data(data: &[u8]) {
    let mut choices = Choices(data);
    let method = [0, 8, 93, 20][choices.below(4)];
    let (lie, seed) = (choices.byte(), choices.byte());
    let data = choices.0;
    let oracle = contents_of(method, data);
    let contents = oracle.as_deref().unwrap_or_default();
    if contents.len() as u64 > UNPACKED_BYTES_MAX {
        return;
    }
    let bytes = contents.len() as u64 + u64::from(lie == 1);
    let mut member = maker::Member::new("member", 0, contents);
    (member.method, member.bytes, member.data) = (method, bytes, data.to_vec());
    let archive = maker::archive(&[member]);
    let Ok(directory) = parse(&archive, &Policy::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let result = unpack_whole(&directory, 0, &archive, &whole, seed, &mut Scratch::default());
    let streamed = unpack_streamed(&directory, 0, &archive, folder.path(), seed, |_| {});
    assert_eq!(result.is_ok(), streamed.is_ok(), "{result:?} in one piece, {streamed:?} in several");
    if result.is_ok() {
        let oracle = oracle.expect("it unpacked what another cannot read");
        assert_eq!(bytes, oracle.len() as u64, "it passed with a size that lies");
        assert_eq!(std::fs::read(whole.join("member")).unwrap(), oracle);
        assert_eq!(std::fs::read(folder.path().join("streamed/member")).unwrap(), oracle);
    }
}

/// A stream that is saved and taken up, its saved state changed in between: refused, or the same member.
pub fn stream_resume(data: &[u8]) {
    let mut choices = Choices(data);
    let (index, seed) = (choices.below(9), choices.byte());
    let bytes = maker::sample();
    let directory = parse(&bytes, &Policy::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let expected =
        unpack_whole(&directory, index, &bytes, &folder.path().join("whole"), 0, &mut Scratch::default());
    let changed = choices.byte() & 1 != 0;
    let change = |text: &mut String| {
        if changed {
            *text = overwritten(text, &mut choices);
        }
    };
    let result = unpack_streamed(&directory, index, &bytes, folder.path(), seed, change);
    match result {
        Ok(sha256) => assert_eq!(sha256, expected.unwrap()),
        Err(Error::Member { .. }) if changed => {}
        Err(error) => panic!("{error}"),
    }
}

/// An archive's saved state, as a journal has it, changed: refused as unusable, or taken up; and then it
/// comes to an end, since nothing is worse than a run that waits for what it has.
pub fn saved_state(data: &[u8]) {
    let mut choices = Choices(data);
    let bytes = maker::sample();
    let directory = Arc::new(parse(&bytes, &Policy::default()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let staging = Arc::new(Staging::open(&folder.path().join("staging")).unwrap());
    let mut spec = Spec {
        name: "fuzz".into(),
        total: bytes.len() as u64,
        window_bytes: if choices.byte() & 1 == 0 { 1 << 20 } else { 256 },
        file: (choices.byte() & 1 != 0).then(|| folder.path().join("file")),
        digest: (choices.byte() & 1 != 0).then_some((Algorithm::Md5, None)),
        unpack: Some(UnpackSpec {
            directory: Arc::clone(&directory),
            staging,
            records: folder.path().join("records"),
            spool: folder.path().join("spool"),
        }),
        untar: None,
        thorough: false,
        redo: None,
    };
    // Without a digest nothing proves a file, and it is rightly refused.
    spec.thorough = choices.byte() & 1 != 0 && (spec.file.is_none() || spec.digest.is_some());
    let begin = Engine::start(&Job::default(), 1).unwrap();
    let archive = begin.add(spec.clone(), None).unwrap();
    let arrived = choices.below(bytes.len() + 1);
    for (number, chunk) in bytes[..arrived].chunks(100).enumerate() {
        begin.write(archive, number as u64 * 100, &Bytes::copy_from_slice(chunk));
    }
    // While workers are at it, as a run does.
    let honest = begin.save(archive);
    begin.close();
    drop(begin);
    let saved = match choices.byte() % 3 {
        0 => honest.clone(),
        1 => overwritten(&honest, &mut choices),
        _ => String::from_utf8_lossy(choices.0).into_owned(),
    };
    let engine = Engine::start(&Job::default(), 1).unwrap();
    let archive = match engine.add(spec, Some(&saved)) {
        Ok(archive) => archive,
        Err(Error::Unusable(_)) if saved != honest => return,
        Err(error) => panic!("{error}: {saved}"),
    };
    for (start, end) in engine.missing(archive, 0, bytes.len() as u64) {
        let span = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        engine.write(archive, start, &Bytes::copy_from_slice(&bytes[span]));
    }
    loop {
        let events = engine.wait(PATIENCE).unwrap();
        assert!(!events.is_empty(), "it hangs after {saved}");
        for event in events {
            match event {
                Event::Finished { .. } => return,
                Event::Failed { error: Error::Internal(text), .. } => panic!("{text} after {saved}"),
                Event::Failed { .. } | Event::Damaged { .. } if saved != honest => return,
                Event::Failed { error, .. } | Event::Damaged { error, .. } => panic!("{error}"),
                Event::Moved => {}
            }
        }
    }
}

// ---- how -------------------------------------------------------------------------------------------

fn extent_of<'a>(directory: &Directory, index: usize, bytes: &'a [u8]) -> &'a [u8] {
    let (start, end) = directory.extent(index);
    &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]
}

/// Cut where `seed` says.
fn chunks(extent: &[u8], seed: u8) -> Vec<Bytes> {
    let size = [extent.len().max(1), 1, 7, 29, 64, 1000][usize::from(seed) % 6];
    extent.chunks(size).map(Bytes::copy_from_slice).collect()
}

fn unpack_whole(
    directory: &Directory,
    index: usize,
    bytes: &[u8],
    folder: &Path,
    seed: u8,
    scratch: &mut Scratch,
) -> Result<[u8; 32]> {
    let staging = Staging::open(folder).unwrap();
    let chunks = chunks(extent_of(directory, index, bytes), seed);
    let member = Whole { directory, index, chunks: &chunks, staging: &staging };
    unpack_member(member, scratch, &Job::default())
}

/// In several pieces; between two of them it is saved, `change`d, and taken up.
fn unpack_streamed(
    directory: &Directory,
    index: usize,
    bytes: &[u8],
    folder: &Path,
    seed: u8,
    mut change: impl FnMut(&mut String),
) -> Result<[u8; 32]> {
    let (job, spool) = (Job::default(), folder.join("spool"));
    let staging = Staging::open(&folder.join("streamed")).unwrap();
    let chunks = chunks(extent_of(directory, index, bytes), seed.wrapping_add(1));
    let kill_at = usize::from(seed / 6) % (chunks.len() + 1);
    let mut stream = Stream::begin(directory, index, &staging, &spool)?;
    stream.push(directory, &chunks[..kill_at], &job)?;
    let mut saved = serde_json::to_string(&stream.save()).unwrap();
    drop(stream);
    let honest = saved.clone();
    change(&mut saved);
    let resumed = serde_json::from_str(&saved)
        .ok()
        .and_then(|saved| Stream::resume(directory, &saved, &staging, &spool, &job).transpose())
        .transpose()?;
    let Some(mut stream) = resumed else {
        assert_ne!(saved, honest, "what was saved was not taken up");
        return unpack_whole(directory, index, bytes, &folder.join("anew"), seed, &mut Scratch::default());
    };
    let (start, end) = directory.extent(stream.index);
    assert!((start..=end).contains(&stream.position));
    if stream.index != index {
        return Err(directory.refuse_member(&directory.entry(index), "another member was taken up"));
    }
    let rest = usize::try_from(stream.position).unwrap()..usize::try_from(end).unwrap();
    stream.push(directory, &[Bytes::copy_from_slice(&bytes[rest])], &job)?;
    stream.finish(directory, &staging)
}

/// `text` with some of its bytes replaced, as `choices` say.
fn overwritten(text: &str, choices: &mut Choices<'_>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=choices.below(4) {
        let at = choices.below(bytes.len());
        match choices.byte() % 3 {
            0 => bytes[at] = choices.byte(),
            1 => bytes.insert(at, b'0' + choices.byte() % 10),
            _ => drop(bytes.remove(at)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// By decompressors that the core does not use, or uses otherwise.
fn contents_of(method: u16, data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = UNPACKED_BYTES_MAX + 1;
    match Method::of(method)? {
        Method::Stored => out.extend_from_slice(data),
        Method::Deflated => {
            flate2::read::DeflateDecoder::new(data).take(limit).read_to_end(&mut out).ok()?;
        }
        Method::Zstd => {
            zstd::stream::read::Decoder::new(data).ok()?.take(limit).read_to_end(&mut out).ok()?;
        }
    }
    Some(out)
}

/// Nothing lies in `folder` but what may.
fn only_in(folder: &Path, names: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(names.iter().any(|known| path.ends_with(known)), "{} is not ours", path.display());
    }
}
