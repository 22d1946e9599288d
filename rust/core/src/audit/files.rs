//! Files opened and looked at for an audit, relative to folder handles.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::Fault;
use crate::error::{Error, Result};

/// Folder handles that each thread keeps; the dataset needs five.
const HANDLES_MAX: usize = 16;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A pipe or a device in a file's place must not make anybody wait.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

pub(super) type Found<T> = std::result::Result<T, Fault>;

/// Where one thread's names begin.
pub(super) struct Folders {
    root: OwnedFd,
    /// Names stay in the folder: no link on the way is followed.
    is_closed: bool,
    known: HashMap<Vec<u8>, OwnedFd>,
}

impl Folders {
    /// # Errors
    /// `Storage`.
    pub(super) fn open(root: &Path, is_closed: bool) -> Result<Self> {
        let root = openat(CWD, root, FOLDER, Mode::empty())
            .map_err(|errno| Error::storage("open folder", root, &io::Error::from(errno)))?;
        Ok(Self { root, is_closed, known: HashMap::new() })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The regular file `name`, for reading, and its size in bytes.
    pub(super) fn file(&mut self, name: &[u8]) -> Found<(File, u64)> {
        let flags = if self.is_closed { FILE | OFlags::NOFOLLOW } else { FILE };
        let (parent, leaf) = self.parent(name)?;
        let file = openat(parent, leaf, flags, Mode::empty()).map_err(|errno| match errno {
            // The kernel says this of a link that it is not to follow, and of too many of them.
            Errno::LOOP => Fault::Kind("a symbolic link"),
            // There is a device or socket of that name, and nothing behind it.
            Errno::NXIO | Errno::NODEV => Fault::Kind("a socket or a device"),
            other => fault(other),
        })?;
        let stat = fstat(&file).map_err(fault)?;
        Ok((file.into(), size(&stat)?))
    }

    /// The size of the regular file `name` in bytes.
    pub(super) fn look(&mut self, name: &[u8]) -> Found<u64> {
        let flags = if self.is_closed { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let (parent, leaf) = self.parent(name)?;
        size(&statat(parent, leaf, flags).map_err(fault)?)
    }

    /// The folder that `name` is in, and what it is called there.
    fn parent<'a>(&mut self, name: &'a [u8]) -> Found<(&OwnedFd, &'a OsStr)> {
        let cut = name.iter().rposition(|&byte| byte == b'/').filter(|_| self.is_closed);
        let Some(cut) = cut else { return Ok((&self.root, OsStr::from_bytes(name))) };
        let (folder, leaf) = (&name[..cut], OsStr::from_bytes(&name[cut + 1..]));
        if !self.known.contains_key(folder) {
            let opened = self.descend(folder)?;
            if self.known.len() >= HANDLES_MAX {
                self.known.clear();
            }
            self.known.insert(folder.to_owned(), opened);
        }
        Ok((self.known.get(folder).ok_or(Fault::Missing)?, leaf))
    }

    fn descend(&self, folder: &[u8]) -> Found<OwnedFd> {
        let mut handle = None;
        for component in folder.split(|&byte| byte == b'/') {
            let above = handle.as_ref().unwrap_or(&self.root);
            handle = Some(open_folder(above, OsStr::from_bytes(component))?);
        }
        handle.ok_or(Fault::Missing)
    }
}

/// The folder `name` in `above`, if it is one.
pub(super) fn open_folder(above: &OwnedFd, name: &OsStr) -> Found<OwnedFd> {
    openat(above, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(|errno| {
        // Of a link, Linux says that it is no folder.
        let is_link = matches!(errno, Errno::NOTDIR | Errno::LOOP)
            && statat(above, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink());
        if is_link { Fault::LinkedFolder } else { fault(errno) }
    })
}

pub(super) fn fault(errno: Errno) -> Fault {
    match errno {
        // Not there, or a file where a folder would have to be.
        Errno::NOENT | Errno::NOTDIR => Fault::Missing,
        other => Fault::Unreadable(other.raw_os_error()),
    }
}

fn size(stat: &rustix::fs::Stat) -> Found<u64> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Directory => Err(Fault::Kind("a folder")),
        FileType::Symlink => Err(Fault::Kind("a symbolic link")),
        FileType::Fifo => Err(Fault::Kind("a pipe")),
        FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            Err(Fault::Kind("a socket or a device"))
        }
    }
}
