//! A long line between two network namespaces: delay, loss and a rate, packet by packet.
//!
//! `link NAMESPACE NAMESPACE DELAY_MS LOSS_PER_MILLION BITS_PER_SECOND QUEUE_BYTES SEED` makes an interface `link0` in
//! each (they must exist), says `ready`, and carries packets until its standard input ends; the interfaces end
//! with it.  The delay is that of one direction; each direction has its own rate, queue and losses.
//!
//! The kernel's netem does the same, where it was built in.  Real packets of at most the interface's MTU, so that
//! the sender's congestion control sees what a line would show it.  Needs no crate: `rustc -O link.rs`.

use std::collections::VecDeque;
use std::env;
use std::ffi::{c_int, c_long, c_short, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

const O_NONBLOCK: c_int = 0o4000;
const CLONE_NEWNET: c_int = 0x4000_0000;
const TUNSETIFF: c_ulong = 0x4004_54ca;
/// IFF_TUN | IFF_NO_PI: whole IP packets, and nothing before them.
const TUN_FLAGS: c_short = 0x0001 | 0x1000;
const POLLIN: c_short = 1;
const PACKET_MAX: usize = 1 << 16;
/// Packets taken in before those that are due are sent: bounds how late they go.
const BATCH: usize = 32;

#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

#[repr(C)]
struct PollDescriptor {
    descriptor: c_int,
    events: c_short,
    happened: c_short,
}

#[repr(C)]
struct TimeSpec {
    seconds: c_long,
    nanoseconds: c_long,
}

extern "C" {
    fn ioctl(descriptor: c_int, request: c_ulong, argument: *mut InterfaceRequest) -> c_int;
    fn setns(descriptor: c_int, kind: c_int) -> c_int;
    fn ppoll(
        descriptors: *mut PollDescriptor,
        count: c_ulong,
        timeout: *const TimeSpec,
        mask: *const c_void,
    ) -> c_int;
}

/// What one direction of the line does to packets.
#[derive(Clone)]
struct Line {
    delay: Duration,
    loss_per_million: u64,
    bits_per_second: u64,
    queue_bytes: u64,
}

impl Line {
    fn takes(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / self.bits_per_second)
    }
}

/// One direction: packets that have been sent and have not arrived.
struct Direction {
    line: Line,
    state: u64,
    idle_at: Instant,
    on_the_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Direction {
    fn new(line: Line, seed: u64) -> Self {
        Self { line, state: seed | 1, idle_at: Instant::now(), on_the_way: VecDeque::new() }
    }

    fn send(&mut self, packet: &[u8], now: Instant) {
        let starts_at = self.idle_at.max(now);
        let is_full = starts_at - now > self.line.takes(self.line.queue_bytes as usize);
        if is_full || self.random() % 1_000_000 < self.line.loss_per_million {
            return;
        }
        self.idle_at = starts_at + self.line.takes(packet.len());
        self.on_the_way.push_back((self.idle_at + self.line.delay, packet.to_vec()));
    }

    /// xorshift64: the same losses for everybody, as far as the same packets are sent.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

fn open_interface(namespace: &str) -> io::Result<File> {
    let namespace = File::open(format!("/run/netns/{namespace}"))?;
    // SAFETY: a descriptor that is open; only this thread, and there is no other yet, moves.
    if unsafe { setns(namespace.as_raw_fd(), CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let tun = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: TUN_FLAGS, rest: [0; 22] };
    request.name[..5].copy_from_slice(b"link0");
    // SAFETY: the request has the size of the kernel's `struct ifreq`, 40 bytes, and outlives the call.
    if unsafe { ioctl(tun.as_raw_fd(), TUNSETIFF, &mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(tun)
}

/// Until a packet comes, or until `due`.
fn wait(tun: &File, due: Option<Instant>) {
    let mut descriptor = PollDescriptor { descriptor: tun.as_raw_fd(), events: POLLIN, happened: 0 };
    let left = due.map(|due| due.saturating_duration_since(Instant::now())).map(|left| TimeSpec {
        seconds: left.as_secs() as c_long,
        nanoseconds: left.subsec_nanos() as c_long,
    });
    let timeout = left.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: one descriptor is given, and it and the timeout outlive the call.
    unsafe { ppoll(&mut descriptor, 1, timeout, ptr::null()) };
}

fn carry(mut from: &File, mut to: &File, mut direction: Direction) -> io::Result<()> {
    let mut packet = vec![0; PACKET_MAX];
    loop {
        wait(from, direction.on_the_way.front().map(|(due, _)| *due));
        for _ in 0..BATCH {
            match from.read(&mut packet) {
                Ok(length) => direction.send(&packet[..length], Instant::now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // EIO: the interface is not up yet.
                Err(error) if error.raw_os_error() == Some(5) => break,
                Err(error) => return Err(error),
            }
        }
        let now = Instant::now();
        while direction.on_the_way.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = direction.on_the_way.pop_front() {
                // A packet that the other end does not take is lost, as on any line.
                let _ = to.write(&packet);
            }
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [first, second, delay_ms, loss, rate, queue, seed] = arguments.as_slice() else {
        return Err("seven arguments: see the source".into());
    };
    let line = Line {
        delay: Duration::from_secs_f64(delay_ms.parse::<f64>()? / 1_000.0),
        loss_per_million: loss.parse()?,
        bits_per_second: rate.parse()?,
        queue_bytes: queue.parse()?,
    };
    let seed: u64 = seed.parse()?;
    let (one, other) = (open_interface(first)?, open_interface(second)?);
    let (there, back) = (Direction::new(line.clone(), seed), Direction::new(line, seed + 1_000_003));
    println!("ready");
    thread::scope(|scope| {
        scope.spawn(|| end_with(carry(&one, &other, there)));
        scope.spawn(|| end_with(carry(&other, &one, back)));
        let mut nothing = Vec::new();
        let _ = io::stdin().read_to_end(&mut nothing);
        process::exit(0);
    })
}

fn end_with(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("link: {error}");
        process::exit(1);
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("link: {error}");
        process::exit(1);
    }
}
