//! A tar, compressed or not: one thread reads and decompresses, one parses, the others write files.
//!
//! Decompressing takes longest and cannot be shared out (but for xz with several blocks), so its thread does
//! nothing else. Its buffers go through unchanged: the writers write slices of them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::buffers::Buffers;
use crate::decode::{self, Format};
use crate::error::{Error, Result};
use crate::extract::{Course, Goal, LocalArchive, READ_BYTES, Source};
use crate::staging::Staging;
use crate::tar::{Event, Member, Reader};
use crate::threads;
use crate::unpack::write_slices;

/// Buffers between the threads: 8 MiB. With fewer than 31 all could wait for each other: `WAITING`, those of a
/// batch, five of a small member that is being put together, and one each for reading and parsing.
const BUFFERS: usize = 32;
/// Decompressed buffers that may wait for the parser.
const WAITING: usize = 8;
/// Files up to this size are put together and written by one call; larger ones go piece by piece.
const SMALL_BYTES: u64 = 1 << 20;
/// Handing work to a thread takes about as long as writing two small files.
const BATCH_BYTES: u64 = 1 << 18;
const BATCH_FILES: usize = 32;
/// A batch holds the buffers that its files lie in, and there may be large files between them.
const BATCH_BUFFERS: usize = 16;

/// What a writer does next.
enum Task {
    Files(Vec<Small>),
    Piece { file: Arc<Large>, offset: u64, data: Bytes },
}

struct Small {
    name: String,
    data: Vec<Bytes>,
}

struct Large {
    file: File,
    path: PathBuf,
}

pub(crate) fn unpack(archive: &LocalArchive, goal: &Goal, course: &Course) {
    let buffers = Buffers::new(BUFFERS, READ_BYTES);
    let (blocks_in, blocks) = sync_channel(WAITING);
    let (tasks, tasks_out) = sync_channel(goal.workers * 2);
    let tasks_out = Mutex::new(tasks_out);
    std::thread::scope(|scope| {
        let buffers = &buffers;
        // Its end of the channel goes with the thread, so that the parser hears of its end.
        let reading = move || course.note(read(archive, goal.workers, course, buffers, &blocks_in));
        let writing = || write(&tasks_out, &goal.staging, course);
        // Decompressing has a core of its own, or else waits for those who write what it gave them.
        let others =
            if archive.format == Format::Tar { goal.workers } else { goal.workers.saturating_sub(1) };
        // One writer is enough, and without one the parser would wait for ever.
        let started = threads::beside(scope, reading).and_then(|()| threads::beside(scope, writing));
        course.note(started.and_then(|()| {
            let _ = (1..others).try_for_each(|_| threads::beside(scope, writing));
            // Its end of the channel goes with it, and then the writers end.
            Parser::new(archive, goal, course, tasks).run(&blocks)
        }));
        drop(blocks);
    });
}

/// Decompresses into buffers; ends early when nobody wants them any more.
pub(crate) fn read(
    archive: &LocalArchive,
    workers: usize,
    course: &Course,
    buffers: &Arc<Buffers>,
    blocks: &SyncSender<Bytes>,
) -> Result<()> {
    let failed = |error: &io::Error| {
        if course.is_over() {
            return Error::Cancelled;
        }
        if error.raw_os_error().is_some() {
            return archive.read_failed(error, course.job());
        }
        Error::Archive {
            archive: archive.name.clone(),
            offset: archive.counters.read_bytes.load(Ordering::Relaxed),
            reason: decode::reason(archive.format, error),
        }
    };
    let mut decoded = decode::decode(archive.format, Source::new(archive, course), workers)
        .map_err(|error| failed(&error))?;
    while let Some(mut buffer) = buffers.take(|| course.is_over()) {
        let mut filled = 0;
        let mut is_over = false;
        while filled < buffer.len() && !is_over {
            match decoded.stream.read(&mut buffer[filled..]) {
                Ok(0) => is_over = true,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        if filled > 0 && blocks.send(buffers.share(buffer, filled)).is_err() {
            return Ok(());
        }
        if is_over {
            let is_checked = decoded.is_checked.load(Ordering::Relaxed);
            archive.counters.is_checked.store(is_checked, Ordering::Relaxed);
            // An empty block says that this was all, as a channel that just closes does not.
            let _ = blocks.send(Bytes::new());
            return Ok(());
        }
    }
    Ok(())
}

struct Parser<'a> {
    archive: &'a LocalArchive,
    goal: &'a Goal,
    course: &'a Course,
    tasks: SyncSender<Task>,
    reader: Reader,
    batch: Vec<Small>,
    batch_bytes: u64,
    batch_buffers: usize,
    /// Whether the buffer that is parsed is one of them.
    is_held: bool,
    current: Current,
}

/// The file whose data are coming.
enum Current {
    None,
    Small(Small),
    Large { file: Arc<Large>, offset: u64 },
}

impl<'a> Parser<'a> {
    fn new(archive: &'a LocalArchive, goal: &'a Goal, course: &'a Course, tasks: SyncSender<Task>) -> Self {
        let reader =
            Reader::new(&archive.name, goal.number, archive.policy, Arc::clone(&goal.names), archive.total);
        Self {
            archive,
            goal,
            course,
            tasks,
            reader,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_buffers: 0,
            is_held: false,
            current: Current::None,
        }
    }

    fn run(mut self, blocks: &Receiver<Bytes>) -> Result<()> {
        while let Ok(block) = blocks.recv() {
            self.course.check()?;
            if block.is_empty() {
                self.reader.finish().map_err(|error| self.explain(error))?;
                return self.hand_over();
            }
            self.reader.arrived(self.archive.counters.read_bytes.load(Ordering::Relaxed));
            self.is_held = false;
            let mut rest = &block[..];
            while let Some(event) = self.reader.step(&mut rest).map_err(|error| self.explain(error))? {
                match event {
                    Event::Directory(member) => self.directory(&member)?,
                    Event::File(member) => self.begin(member)?,
                    Event::Data(data) => {
                        let slice = block.slice_ref(data);
                        self.data(slice)?;
                    }
                    Event::FileEnd => self.end()?,
                }
            }
        }
        // The reading thread has noted why it ended.
        Err(Error::Cancelled)
    }

    fn directory(&mut self, member: &Member) -> Result<()> {
        self.archive.counters.members.fetch_add(1, Ordering::Relaxed);
        if member.name.is_empty() {
            return Ok(());
        }
        self.goal.staging.make_directory(&member.name)
    }

    fn begin(&mut self, member: Member) -> Result<()> {
        self.course.check()?;
        self.current = if member.bytes <= SMALL_BYTES {
            self.batch_bytes += member.bytes;
            Current::Small(Small { name: member.name, data: Vec::new() })
        } else {
            let file = self.goal.staging.create(&member.name)?;
            let path = self.goal.staging.path(&member.name);
            Current::Large { file: Arc::new(Large { file, path }), offset: 0 }
        };
        Ok(())
    }

    fn data(&mut self, data: Bytes) -> Result<()> {
        self.archive.counters.unpacked_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        match &mut self.current {
            Current::None => Ok(()),
            Current::Small(small) => {
                small.data.push(data);
                self.batch_buffers += usize::from(!self.is_held);
                self.is_held = true;
                Ok(())
            }
            Current::Large { file, offset } => {
                let task = Task::Piece { file: Arc::clone(file), offset: *offset, data: data.clone() };
                *offset += data.len() as u64;
                self.send(task)
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        self.archive.counters.members.fetch_add(1, Ordering::Relaxed);
        self.archive.counters.files.fetch_add(1, Ordering::Relaxed);
        if let Current::Small(small) = std::mem::replace(&mut self.current, Current::None) {
            self.batch.push(small);
            if self.batch_bytes >= BATCH_BYTES
                || self.batch.len() >= BATCH_FILES
                || self.batch_buffers >= BATCH_BUFFERS
            {
                return self.hand_over();
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        self.batch_buffers = 0;
        self.is_held = false;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.send(Task::Files(batch)) }
    }

    fn send(&self, task: Task) -> Result<()> {
        // Writers take tasks until this end is gone, so nobody listening means that they died.
        self.tasks.send(task).map_err(|_| Error::Internal("the writers have ended".into()))
    }

    /// A compressed file that holds no tar is somebody's single file.
    fn explain(&self, error: Error) -> Error {
        match (error, self.archive.format.single_file_program()) {
            (Error::Archive { archive, offset: 0, reason }, Some(program)) => Error::Archive {
                archive,
                offset: 0,
                reason: format!("{reason}; if it is one compressed file, unpack it with {program}"),
            },
            (error, _) => error,
        }
    }
}

/// Takes tasks until there are no more; after an error only to let go of them.
fn write(tasks: &Mutex<Receiver<Task>>, staging: &Staging, course: &Course) {
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Err(_) => return,
            Ok(_) if course.is_over() => {}
            Ok(task) => course.note(task.done(staging, course)),
        }
    }
}

impl Task {
    fn done(self, staging: &Staging, course: &Course) -> Result<()> {
        match self {
            Self::Files(files) => files.into_iter().try_for_each(|small| {
                course.check()?;
                let mut file = staging.create(&small.name)?;
                let slices: Vec<&[u8]> = small.data.iter().map(AsRef::as_ref).collect();
                write_slices(&mut file, &slices)
                    .map_err(|source| Error::storage("write", &staging.path(&small.name), &source))
            }),
            Self::Piece { file, offset, data } => file
                .file
                .write_all_at(&data, offset)
                .map_err(|source| Error::storage("write", &file.path, &source)),
        }
    }
}
