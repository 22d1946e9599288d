use std::io::Write as _;

use liblzma::stream::Check;

use super::*;

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn compressed(format: Format, data: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Format::Zstd => {
            let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            writer.include_checksum(true).unwrap();
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Format::Xz => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Format::Bzip2 => {
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Format::Zip | Format::Tar => data.to_vec(),
    }
}

const ALL: [Format; 4] = [Format::Gzip, Format::Zstd, Format::Xz, Format::Bzip2];

fn unpacked(format: Format, raw: &[u8]) -> io::Result<(Vec<u8>, bool)> {
    // Small pieces, so that every boundary falls everywhere.
    let source = io::BufReader::with_capacity(61, raw);
    let mut decoded = decode(format, source, 2)?;
    let mut out = Vec::new();
    decoded.stream.read_to_end(&mut out)?;
    Ok((out, decoded.is_checked.load(Ordering::Relaxed)))
}

#[test]
fn every_format_is_known_by_its_first_bytes_and_comes_back_whole() {
    for format in ALL {
        for length in [0, 1, 1000, 300_000] {
            let raw = compressed(format, &data(length));
            assert_eq!(Format::of(&raw), Some(format));
            assert_eq!(unpacked(format, &raw).unwrap(), (data(length), true), "{format:?} {length}");
        }
    }
}

#[test]
fn several_streams_one_behind_the_other_are_one() {
    for format in ALL {
        let raw = [compressed(format, &data(1000)), compressed(format, b""), compressed(format, &data(70))];
        assert_eq!(unpacked(format, &raw.concat()).unwrap().0, [data(1000), data(70)].concat(), "{format:?}");
    }
    let padded = [compressed(Format::Xz, &data(10)), vec![0; 8], compressed(Format::Xz, &data(7))].concat();
    assert_eq!(unpacked(Format::Xz, &padded).unwrap().0.len(), 17);
    assert!(unpacked(Format::Xz, &[padded, vec![0; 3]].concat()).is_err());
    let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec(), compressed(Format::Zstd, b"x")].concat();
    assert_eq!(Format::of(&skippable), Some(Format::Zstd));
    assert_eq!(unpacked(Format::Zstd, &skippable).unwrap(), (b"x".to_vec(), true));
}

#[test]
fn a_stream_that_is_cut_off_anywhere_is_an_error() {
    for format in ALL {
        let raw = compressed(format, &data(2000));
        for length in 1..raw.len() {
            let error = unpacked(format, &raw[..length]).unwrap_err();
            assert!(reason(format, &error).contains("cut off"), "{format:?} {length}: {error:?}");
        }
    }
}

#[test]
fn something_behind_a_stream_is_an_error() {
    for format in ALL {
        let raw = [compressed(format, &data(2000)), b"more of something".to_vec()].concat();
        assert!(unpacked(format, &raw).is_err(), "{format:?}");
    }
}

#[test]
fn zeros_that_fill_up_the_last_block_are_the_end_and_nothing_may_follow_them() {
    for format in [Format::Gzip, Format::Bzip2] {
        let raw = [compressed(format, &data(1000)), compressed(format, &data(70))].concat();
        for zeros in [1, 2, 3, 60, 61, 62, 10_239] {
            let padded = [raw.clone(), vec![0; zeros]].concat();
            let (found, is_checked) = unpacked(format, &padded).unwrap();
            assert_eq!((found, is_checked), ([data(1000), data(70)].concat(), true), "{format:?} {zeros}");
            for behind in [b"x".to_vec(), compressed(format, b"more")] {
                let followed = [padded.clone(), behind].concat();
                assert!(unpacked(format, &followed).is_err(), "{format:?} {zeros}");
            }
        }
    }
    // As for zstd itself.
    assert!(unpacked(Format::Zstd, &[compressed(Format::Zstd, b"x"), vec![0; 512]].concat()).is_err());
}

#[test]
fn an_xz_stream_without_a_checksum_is_told() {
    let of = |check: Check| {
        let encoder = Stream::new_easy_encoder(1, check).unwrap();
        let mut writer = liblzma::write::XzEncoder::new_stream(Vec::new(), encoder);
        writer.write_all(&data(100)).unwrap();
        writer.finish().unwrap()
    };
    for check in [Check::Crc32, Check::Crc64, Check::Sha256] {
        assert_eq!(unpacked(Format::Xz, &of(check)).unwrap(), (data(100), true), "{check:?}");
    }
    assert_eq!(unpacked(Format::Xz, &of(Check::None)).unwrap(), (data(100), false));
    let mixed = [of(Check::Crc64), of(Check::None), of(Check::Crc64)].concat();
    assert!(!unpacked(Format::Xz, &mixed).unwrap().1);
}

#[test]
fn a_flipped_bit_is_an_error_where_there_is_a_checksum() {
    for format in ALL {
        let mut raw = compressed(format, &data(5000));
        let middle = raw.len() / 2;
        raw[middle] ^= 4;
        assert!(unpacked(format, &raw).is_err(), "{format:?}");
    }
}

#[test]
fn a_frame_without_a_checksum_is_told() {
    let bare = zstd::stream::encode_all(&data(100)[..], 1).unwrap();
    assert_eq!(unpacked(Format::Zstd, &bare).unwrap(), (data(100), false));
    let mixed = [compressed(Format::Zstd, &data(3)), bare, compressed(Format::Zstd, &data(3))].concat();
    assert!(!unpacked(Format::Zstd, &mixed).unwrap().1);
}

#[test]
fn a_window_that_takes_too_much_memory_is_refused_in_words() {
    let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    writer.window_log(28).unwrap();
    writer.write_all(&data(1000)).unwrap();
    let raw = writer.finish().unwrap();
    let error = unpacked(Format::Zstd, &raw).unwrap_err();
    assert!(reason(Format::Zstd, &error).contains("128 MiB"), "{error:?}");
}
