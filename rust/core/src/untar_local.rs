//! A compressed tar that is here as a whole: what decompresses it cannot be saved in its middle, so it is not
//! unpacked while it comes.

use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;

use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::extract::{Course, LocalArchive, READ_BYTES};
use crate::extract_tar;
use crate::job::Job;
use crate::threads;
use crate::untar::{Untar, UntarSpec};

/// 4 MiB between decompressing and unpacking.
const BUFFERS: usize = 16;
const WAITING: usize = 8;

impl LocalArchive {
    /// Unpacks a tar, compressed or not, and lists its files; returns how many.
    ///
    /// # Errors
    /// `Member`, `Archive`, `Storage`, `Cancelled`; what lies in staging then is of no use.
    pub fn untar(&self, spec: &UntarSpec, workers: usize, job: &Job) -> Result<u64> {
        if self.directory.is_some() {
            let reason = "it is a zip, and was to be a tar".into();
            return Err(Error::Archive { archive: self.name.clone(), offset: 0, reason });
        }
        let mut untar = Untar::begin(&self.name, self.total, spec)?;
        let course = Course::new(job);
        let buffers = Buffers::new(BUFFERS, READ_BYTES);
        let (blocks_in, blocks) = sync_channel(WAITING);
        std::thread::scope(|scope| {
            let (course, buffers) = (&course, &buffers);
            let reading = move || course.note(extract_tar::read(self, workers, course, buffers, &blocks_in));
            let started = threads::beside(scope, reading);
            course.note(started.and_then(|()| push_all(&mut untar, &blocks, course)));
            // Its end of the channel goes, so that the other thread does not wait for it.
            drop(blocks);
        });
        course.outcome()?;
        Ok(untar.files())
    }
}

fn push_all(untar: &mut Untar, blocks: &Receiver<Bytes>, course: &Course) -> Result<()> {
    while let Ok(block) = blocks.recv() {
        course.check()?;
        if block.is_empty() {
            return untar.finish();
        }
        untar.push(&[block], course.job())?;
    }
    // The reading thread has noted why it ended.
    Err(Error::Cancelled)
}
