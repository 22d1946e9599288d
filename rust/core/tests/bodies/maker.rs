//! A writer of zips that says whatever it is told to, also what is not so.

pub struct Member {
    pub name: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    pub bytes: u64,
    pub data: Vec<u8>,
    /// What comes between the data and the next member.
    pub behind: Vec<u8>,
}

impl Member {
    /// An honest member; `method` is 0, 8 or 93.
    pub fn new(name: &str, method: u16, contents: &[u8]) -> Self {
        Self {
            name: name.into(),
            flags: 0,
            method,
            crc32: crc32fast::hash(contents),
            bytes: contents.len() as u64,
            data: compressed(method, contents),
            behind: Vec::new(),
        }
    }

    /// The same with a data descriptor behind it.
    pub fn with_descriptor(mut self, signed: bool, wide: bool) -> Self {
        self.flags |= 8;
        if signed {
            self.behind.extend(0x0807_4b50_u32.to_le_bytes());
        }
        self.behind.extend(self.crc32.to_le_bytes());
        for size in [self.data.len() as u64, self.bytes] {
            let bytes = size.to_le_bytes();
            self.behind.extend(if wide { &bytes[..] } else { &bytes[..4] });
        }
        self
    }
}

pub fn compressed(method: u16, contents: &[u8]) -> Vec<u8> {
    match method {
        8 => {
            let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
            let mut out = Vec::with_capacity(contents.len() + 1000);
            compress.compress_vec(contents, &mut out, flate2::FlushCompress::Finish).unwrap();
            out
        }
        93 => zstd::bulk::compress(contents, 3).unwrap(),
        _ => contents.to_vec(),
    }
}

pub fn archive(members: &[Member]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let offset = u32::try_from(out.len()).unwrap();
        let sizes = [member.data.len() as u64, member.bytes].map(|size| u32::try_from(size).unwrap());
        let known = member.flags & 8 == 0;
        out.extend(0x0403_4b50_u32.to_le_bytes());
        let name_bytes = u16::try_from(member.name.len()).unwrap();
        for field in [20, member.flags, member.method, 0, 0x21] {
            out.extend(field.to_le_bytes());
        }
        for field in [member.crc32, sizes[0], sizes[1]] {
            out.extend(if known { field } else { 0 }.to_le_bytes());
        }
        out.extend(name_bytes.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(&member.name);
        out.extend(&member.data);
        out.extend(&member.behind);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        for field in [0x031e, 20, member.flags, member.method, 0, 0x21] {
            directory.extend(u16::to_le_bytes(field));
        }
        for field in [member.crc32, sizes[0], sizes[1]] {
            directory.extend(field.to_le_bytes());
        }
        for field in [name_bytes, 0, 0, 0, 0] {
            directory.extend(field.to_le_bytes());
        }
        directory.extend(0_u32.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&member.name);
    }
    let (start, length) = (out.len(), directory.len());
    out.extend(directory);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    let count = u16::try_from(members.len()).unwrap();
    for field in [0, 0, count, count] {
        out.extend(u16::to_le_bytes(field));
    }
    for field in [length, start] {
        out.extend(u32::try_from(field).unwrap().to_le_bytes());
    }
    out.extend(0_u16.to_le_bytes());
    out
}

/// Bytes that depend on their position with a prime period, and do not compress to nothing.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i % 251) ^ (i / 251 % 7)).unwrap()).collect()
}

/// A small archive with every method, every kind of descriptor, a folder, an empty file.
pub fn sample() -> Vec<u8> {
    archive(&[
        Member::new("folder/", 0, b""),
        Member::new("folder/stored", 0, &pattern(300)),
        Member::new("folder/deflated", 8, &pattern(3000)),
        Member::new("folder/zstd", 93, &pattern(3000)),
        Member::new("empty", 8, b""),
        Member::new("signed", 8, &pattern(40)).with_descriptor(true, false),
        Member::new("wide", 93, &pattern(41)).with_descriptor(true, true),
        Member::new("bare", 0, &pattern(42)).with_descriptor(false, false),
        Member::new("bare wide", 8, &pattern(43)).with_descriptor(false, true),
    ])
}
