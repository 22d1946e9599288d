use super::*;

fn header(name: &str, flag: u8, bytes: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sealed(block)
}

fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK_BYTES), 0);
    data
}

fn member(name: &str, flag: u8, data: &[u8]) -> Vec<u8> {
    [header(name, flag, data.len() as u64), padded(data)].concat()
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let body = format!(" {key}={value}\n");
    let mut length = body.len();
    while format!("{length}{body}").len() != length {
        length += 1;
    }
    format!("{length}{body}").into_bytes()
}

fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 2 * BLOCK_BYTES]].concat()
}

type Files = Vec<(String, Vec<u8>)>;

fn read_by(tar: &[u8], piece: usize, policy: Policy) -> Result<Files> {
    let mut reader = Reader::new("a.tar", 0, policy, Arc::new(Names::new(true)), Some(tar.len() as u64));
    let mut files = Files::new();
    for mut input in tar.chunks(piece) {
        while let Some(event) = reader.step(&mut input)? {
            match event {
                Event::Directory(member) => files.push((member.name + "/", Vec::new())),
                Event::File(member) => files.push((member.name, Vec::new())),
                Event::Data(data) => files.last_mut().unwrap().1.extend_from_slice(data),
                Event::FileEnd => {}
            }
        }
        assert!(input.is_empty());
    }
    reader.finish().map(|()| files)
}

fn read(tar: &[u8]) -> Result<Files> {
    read_by(tar, 1 << 20, Policy::default())
}

fn refusal(tar: &[u8]) -> String {
    read(tar).unwrap_err().to_string()
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn sample() -> Vec<u8> {
    ended(&[
        member("./", b'5', b""),
        member("./train/", b'5', b""),
        member("./train/1.png", b'0', &data(700)),
        member("././@LongLink", b'L', format!("val/{}\0", "x".repeat(120)).as_bytes()),
        member("val/xxx", b'0', &data(512)),
        member("ignored", b'x', &[record("mtime", "1.5"), record("path", "val/ä")].concat()),
        member("val/a", b'0', b""),
    ])
}

#[test]
fn pieces_of_any_size_give_the_same_files() {
    let expected = read(&sample()).unwrap();
    assert_eq!(expected.len(), 5);
    assert_eq!(expected[2], ("train/1.png".into(), data(700)));
    assert_eq!(expected[3].0, format!("val/{}", "x".repeat(120)));
    assert_eq!(expected[4].0, "val/ä");
    for piece in [1, 2, 7, 511, 512, 513, 1000] {
        assert_eq!(read_by(&sample(), piece, Policy::default()).unwrap(), expected, "{piece}");
    }
}

#[test]
fn a_tar_that_is_cut_off_anywhere_is_refused() {
    let tar = sample();
    for length in 0..tar.len() - BLOCK_BYTES {
        assert!(read(&tar[..length]).is_err(), "{length}");
    }
    for length in tar.len() - BLOCK_BYTES..tar.len() {
        assert!(read(&tar[..length]).is_ok(), "{length}");
    }
}

#[test]
fn what_stands_behind_the_end_is_refused() {
    let zeros = [sample(), vec![0; 10_000]].concat();
    assert_eq!(read(&zeros).unwrap(), read(&sample()).unwrap());
    assert!(refusal(&[sample(), sample()].concat()).contains("behind the end"));
    assert!(refusal(&[sample(), vec![1]].concat()).contains("behind the end"));
}

#[test]
fn hostile_names_and_kinds_are_refused_with_the_members_name() {
    for (name, flag, reason) in [
        ("../x", b'0', "'..'"),
        ("a/../../x", b'0', "'..'"),
        ("./../x", b'0', "'..'"),
        ("/etc/passwd", b'0', "absolute"),
        (".//etc/passwd", b'0', "absolute"),
        ("a\\b", b'0', "backslash"),
        (".fdf256/journal", b'0', ".fdf256"),
        ("link", b'1', "hard link"),
        ("link", b'2', "symbolic link"),
        ("tty", b'3', "device"),
        ("sda", b'4', "device"),
        ("fifo", b'6', "pipe"),
        ("holes", b'S', "sparse"),
        ("more", b'M', "volume"),
        ("what", b'Q', "not known"),
        ("slash/", b'0', "slash"),
    ] {
        let error = refusal(&ended(&[member(name, flag, b"")]));
        assert!(error.contains(reason) && error.contains("member"), "{name}: {error}");
    }
    let error = refusal(&ended(&[header("dir/", b'5', 5), padded(b"12345")]));
    assert!(error.contains("directory and has data"), "{error}");
}

#[test]
fn names_that_get_in_each_others_way_are_refused() {
    let file = |name| member(name, b'0', b"1");
    for (parts, reason) in [
        (vec![file("a"), file("a")], "twice"),
        (vec![file("a"), file("./a")], "twice"),
        (vec![file("a"), file("A")], "case"),
        (vec![file("a"), file("a/b")], "folder"),
        (vec![file("a/b"), file("a")], "folder"),
        (vec![file("a"), member("a/", b'5', b"")], "folder"),
        (vec![member("a/", b'5', b""), file("a")], "folder"),
        (vec![file("a/b"), file("A/c")], "case"),
    ] {
        let error = refusal(&ended(&parts));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn extended_headers_that_trick_are_refused() {
    let pax = |records: &[Vec<u8>]| member("p", b'x', &records.concat());
    let long = member("././@LongLink", b'L', b"name\0");
    let file = member("a", b'0', b"12345");
    for (parts, reason) in [
        (vec![pax(&[record("size", "4")]), file.clone()], "contradicts"),
        (vec![pax(&[record("size", "-1")]), file.clone()], "not a size"),
        (vec![pax(&[record("size", "99999999999999999999999")]), file.clone()], "not a size"),
        (vec![pax(&[record("size", "9223372036854775808")]), file.clone()], "larger than any file"),
        (vec![pax(&[record("size", "5"), record("size", "5")]), file.clone()], "two sizes"),
        (vec![pax(&[record("path", "a"), record("path", "b")]), file.clone()], "two paths"),
        (vec![pax(&[record("path", "")]), file.clone()], "empty path"),
        (vec![pax(&[record("path", "../a")]), file.clone()], "'..'"),
        (vec![pax(&[record("path", "a\0b")]), file.clone()], "control"),
        (vec![pax(&[record("GNU.sparse.major", "1")]), file.clone()], "sparse"),
        (vec![pax(&[b"5 a=b".to_vec()]), file.clone()], "damaged"),
        (vec![pax(&[b"999 a=b\n".to_vec()]), file.clone()], "damaged"),
        (vec![pax(&[record("a", "b")]), pax(&[record("a", "b")]), file.clone()], "two PAX"),
        (vec![member("g", b'g', &record("path", "x")), file.clone()], "global"),
        (vec![long.clone(), long.clone(), file.clone()], "two long names"),
        (vec![long.clone(), pax(&[record("path", "b")]), file.clone()], "GNU long name and a PAX path"),
        (vec![long], "no member"),
        (vec![header("././@LongLink", b'L', 1 << 17), file.clone()], "claims"),
        (vec![header("p", b'x', 1 << 21), file], "claims"),
    ] {
        let error = refusal(&ended(&parts));
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn numbers_in_base_256_are_read_and_absurd_ones_refused() {
    let with_size = |field: [u8; 12]| {
        let mut block = header("a", b'0', 0);
        block[124..136].copy_from_slice(&field);
        sealed(block)
    };
    let mut field = [0; 12];
    field[0] = 0x80;
    field[11] = 5;
    assert_eq!(read(&ended(&[with_size(field), padded(b"12345")])).unwrap()[0].1, b"12345");
    field[1..].fill(0xff);
    assert!(refusal(&ended(&[with_size(field)])).contains("larger than any file"));
    assert!(refusal(&ended(&[with_size([0xff; 12])])).contains("negative"));
    assert!(refusal(&ended(&[with_size(*b"-0000000001\0")])).contains("not a number"));
    assert!(refusal(&ended(&[with_size(*b"00000000009\0")])).contains("not a number"));
}

#[test]
fn a_signed_checksum_is_as_good_and_a_wrong_one_is_not() {
    let mut block = header("\u{e9}", b'0', 0);
    block[148..156].fill(b' ');
    let sum: i64 = block.iter().map(|&byte| i64::from(byte.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&ended(&[block.clone()])).unwrap()[0].0, "\u{e9}");
    block[0] ^= 1;
    assert!(refusal(&ended(&[block.clone()])).contains("no tar"));
    let second = [member("a", b'0', b"1"), block].concat();
    assert!(refusal(&ended(&[second])).contains("checksum"));
}

#[test]
fn limits_are_kept_and_named() {
    let policy = Policy { members_max: 1, ..Policy::default() };
    let two = ended(&[member("a", b'0', b"1"), member("b", b'0', b"1")]);
    assert!(read_by(&two, 512, policy).unwrap_err().to_string().contains("1 members"));
    let policy = Policy { unpacked_bytes_max: 1, ..Policy::default() };
    assert!(read_by(&two, 512, policy).unwrap_err().to_string().contains("more than 1 bytes"));
    let bomb = ended(&[header("a", b'0', RATIO_FREE_BYTES + 1)]);
    assert!(refusal(&bomb).contains("250 times"));
}

#[test]
fn folders_that_are_only_part_of_names_count_as_members_once_each() {
    let tar = ended(&[
        member("a/b/c/1", b'0', b"1"),
        member("a/b/c/2", b'0', b"2"),
        member("a/b/", b'5', b""),
        member("a/b/d/", b'5', b""),
    ]);
    let within = |members_max| read_by(&tar, 512, Policy { members_max, ..Policy::default() });
    assert_eq!(within(6).unwrap().len(), 4);
    let error = within(5).unwrap_err().to_string();
    assert!(error.contains("5 files and folders") && error.contains("a/b/d"), "{error}");
    let error = within(3).unwrap_err().to_string();
    assert!(error.contains("3 files and folders") && error.contains("a/b/c/1"), "{error}");
}

#[test]
fn what_has_no_type_is_a_directory_if_its_whole_name_says_so() {
    let long = format!("{}/file", "x".repeat(99));
    for (extension, name) in [
        (member("././@LongLink", b'L', format!("{long}\0").as_bytes()), long.clone()),
        (member("p", b'x', &record("path", &long)), long.clone()),
        (member("p", b'x', &record("path", "folder/")), "folder/".into()),
        (Vec::new(), format!("{}/", "x".repeat(99))),
    ] {
        let tar = ended(&[extension, member(&format!("{}/", "x".repeat(99)), 0, b"")]);
        assert_eq!(read(&tar).unwrap(), [(name, Vec::new())]);
    }
    let file = ended(&[member("././@LongLink", b'L', long.as_bytes()), member("cut off/", 0, &data(700))]);
    assert_eq!(read(&file).unwrap(), [(long, data(700))]);
}

#[test]
fn the_state_between_members_is_an_offset_and_two_counters() {
    let tar = sample();
    let names = Arc::new(Names::new(true));
    let mut reader = Reader::new("a.tar", 0, Policy::default(), names, None);
    let mut input = &tar[..512 + 512 + 512];
    while reader.step(&mut input).unwrap().is_some() {}
    assert_eq!(reader.boundary(), None);
    let mut input = &tar[512 * 3..512 * 5];
    while reader.step(&mut input).unwrap().is_some() {}
    assert_eq!(reader.boundary(), Some(Boundary { offset: 512 * 5, members: 3, unpacked_bytes: 700 }));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        changes in proptest::collection::vec((0..8_usize * 512, proptest::num::u8::ANY), 0..8),
        piece in 1..2000_usize,
        seal in proptest::bool::ANY,
    ) {
        let mut tar = sample();
        for (at, byte) in changes {
            tar[at] = byte;
        }
        if seal {
            for block in tar.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    block.copy_from_slice(&sealed(block.to_vec()));
                }
            }
        }
        if let Ok(files) = read_by(&tar, piece, Policy::default()) {
            for (name, _) in files {
                proptest::prop_assert!(name == "/" || name::check(&name, true).is_ok(), "{name:?}");
            }
        }
    }
}
