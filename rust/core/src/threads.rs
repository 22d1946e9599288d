//! Threads where the system may have none left: a container or a limit on processes allows so many and no more.

use std::thread::{Builder, Scope};

use crate::error::{Error, Result};

/// Starts `work` beside the caller.
///
/// # Errors
/// `Thread`; nothing of `work` is done then.
pub(crate) fn beside<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() + Send + 'scope,
) -> Result<()> {
    // The scope's own `spawn` panics where there is no thread.
    let started = Builder::new().spawn_scoped(scope, work);
    started.map(drop).map_err(|source| Error::Thread { errno: source.raw_os_error().unwrap_or(0) })
}

/// Does `work` in `count` threads, of which this is number 0; in fewer where the system gives no more.
pub(crate) fn together(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        for number in 1..count {
            if beside(scope, move || work(number)).is_err() {
                break;
            }
        }
        work(0);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_number_works_once_and_this_thread_is_the_first() {
        for count in [0, 1, 5] {
            let seen = Mutex::new(Vec::new());
            together(count, |number| seen.lock().unwrap().push((number, std::thread::current().id())));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_by_key(|&(number, _)| number);
            assert_eq!(seen[0], (0, std::thread::current().id()));
            assert!(seen.iter().map(|&(number, _)| number).eq(0..count.max(1)));
        }
    }
}
