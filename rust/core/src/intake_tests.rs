use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

struct Set {
    intake: Intake,
    receiver: Arc<Receiver>,
    ours: UnixStream,
    theirs: UnixStream,
}

impl Set {
    fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Self {
            intake: Intake::new().unwrap(),
            receiver: Arc::new(Receiver::new(&Arc::default())),
            ours,
            theirs,
        }
    }

    fn pour(&self, start: u64, end: u64) -> u64 {
        self.receiver.set_position(start);
        self.intake.pour(self.ours.as_fd(), None, &self.receiver, 7, end).unwrap()
    }

    /// Reads as a worker does until the body has ended.
    fn drain(&self) -> (Vec<u8>, Vec<(u64, End)>) {
        let mut had = Vec::new();
        while self.intake.is_open() {
            let number = self.intake.wait(PATIENCE).expect("bytes or an end in time");
            self.intake.read(number, |archive, offset, data| {
                assert_eq!((archive, offset), (7, 1000 + had.len() as u64));
                had.extend_from_slice(&data);
            });
        }
        (had, self.intake.ended())
    }
}

#[test]
fn a_body_comes_whole_and_what_follows_it_stays_in_the_socket() {
    let mut set = Set::new();
    let data = pattern(3_000_000);
    let number = set.pour(1000, 1000 + data.len() as u64);
    let mut sender = set.theirs.try_clone().unwrap();
    let outgoing = data.clone();
    let sending = thread::spawn(move || {
        sender.write_all(&outgoing).unwrap();
        sender.write_all(b"the next answer").unwrap();
    });
    let (had, ended) = set.drain();
    sending.join().unwrap();
    assert!(had == data);
    assert_eq!(ended, [(number, End::Complete)]);
    assert_eq!(set.receiver.position(), 1000 + data.len() as u64);
    let mut next = [0; 15];
    std::io::Read::read_exact(&mut set.ours, &mut next).unwrap();
    assert_eq!(&next, b"the next answer");
}

#[test]
fn a_connection_that_closes_early_is_told_of() {
    let mut set = Set::new();
    let number = set.pour(1000, 2000);
    set.theirs.write_all(&pattern(100)).unwrap();
    set.theirs.shutdown(std::net::Shutdown::Both).unwrap();
    let (had, ended) = set.drain();
    assert_eq!(had, pattern(100));
    assert_eq!(ended, [(number, End::Closed)]);
}

#[test]
fn nothing_is_read_after_stop_and_another_may_read_on() {
    let mut set = Set::new();
    let number = set.pour(1000, 2000);
    set.theirs.write_all(&pattern(10)).unwrap();
    let ready = set.intake.wait(PATIENCE).unwrap();
    set.intake.stop(number);
    set.intake.read(ready, |_, _, _| panic!("it was stopped"));
    assert!(!set.intake.is_open() && set.intake.ended().is_empty());
    let mut rest = [0; 10];
    std::io::Read::read_exact(&mut set.ours, &mut rest).unwrap();
    assert_eq!(rest.as_slice(), pattern(10));
}

#[test]
fn several_workers_read_many_bodies_and_none_of_them_twice() {
    let intake = Intake::new().unwrap();
    let pool = Arc::default();
    let data = pattern(400_000);
    let pairs: Vec<_> = (0..12).map(|_| UnixStream::pair().unwrap()).collect();
    let receivers: Vec<_> = pairs.iter().map(|_| Arc::new(Receiver::new(&pool))).collect();
    let had: Vec<Mutex<Vec<u8>>> = pairs.iter().map(|_| Mutex::default()).collect();
    for (archive, ((ours, _), receiver)) in pairs.iter().zip(&receivers).enumerate() {
        intake.pour(ours.as_fd(), None, receiver, archive, data.len() as u64).unwrap();
    }
    thread::scope(|scope| {
        for (_, theirs) in &pairs {
            scope.spawn(|| (&*theirs).write_all(&data).unwrap());
        }
        for _ in 0..3 {
            scope.spawn(|| {
                while intake.is_open() {
                    let Some(number) = intake.ready() else {
                        thread::yield_now();
                        continue;
                    };
                    intake.read(number, |archive, offset, piece| {
                        let mut had = had[archive].lock().unwrap();
                        assert_eq!(had.len() as u64, offset);
                        had.extend_from_slice(&piece);
                    });
                }
            });
        }
    });
    assert!(had.iter().all(|had| *had.lock().unwrap() == data));
    assert_eq!(intake.ended().len(), pairs.len());
}

#[test]
fn an_alarm_ends_the_wait_of_the_one_who_waits_and_not_anothers_look() {
    let intake = Intake::new().unwrap();
    intake.wake();
    assert_eq!(intake.ready(), None);
    assert_eq!(intake.wait(None), None, "the alarm is still there");
    assert_eq!(intake.wait(Some(Duration::ZERO)), None);
}
