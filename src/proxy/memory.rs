//! Giving memory back to the system: what was freed, for an allocator does so while it is used, and
//! a proxy that has gone quiet uses it no more; and code that is not running.
#![allow(unsafe_code)]

use std::{fs, io, ops::Range, rc::Rc, time::Duration};

use rustix::mm::{Advice, madvise};
use tokio::sync::Notify;

/// What is freed together is given back together.
const GATHER: Duration = Duration::from_millis(100);
/// Not more often than this: each time costs a millisecond or two, page faults included.
const PAUSE: Duration = Duration::from_secs(5);

/// A proxy whose requests all come by connections that stay, from another proxy for example, is
/// quiet after this long without one.
const QUIET: Duration = Duration::from_secs(5);

/// Gives memory back whenever much may have been `freed`, and when nothing goes on any more:
/// `exchanges` says how many requests there have been.
pub async fn trim(freed: Rc<Notify>, exchanges: impl Fn() -> u64) {
    whenever_quiet(freed, exchanges, || {
        // SAFETY: the allocator's own function, which may be called at any time on any thread. It
        // touches nothing that is allocated.
        unsafe { libmimalloc_sys::mi_collect(true) };
        if let Err(error) = drop_code() {
            tracing::debug!(%error, "code that is not running stays resident");
        }
    })
    .await;
}

async fn whenever_quiet(
    freed: Rc<Notify>,
    exchanges: impl Fn() -> u64,
    mut give_back: impl FnMut(),
) {
    // What had been done when memory was last given back: then there is no more to give.
    let mut done = 0;
    loop {
        let before = exchanges();
        match tokio::time::timeout(QUIET, freed.notified()).await {
            Ok(()) => tokio::time::sleep(GATHER).await,
            Err(_) if exchanges() == before && before != done => {}
            Err(_) => continue,
        }
        give_back();
        done = exchanges();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Unmaps code: what runs again comes back out of the page cache, 64 KiB at a time. It takes 0.3 ms,
/// and the next request 140 to 270 page faults. The start alone, with its command line,
/// certificates and configuration, runs several times as much code as an idle proxy does, and all
/// of it would count as resident for as long as the process lives.
///
/// A debugger's breakpoints and uprobes are written into code, and are gone then.
///
/// # Errors
/// When the system does not show where the code is, or does not take the advice.
pub fn drop_code() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for pages in never_written(&maps) {
        let start = std::ptr::with_exposed_provenance_mut(pages.start);
        // SAFETY: a private mapping of a file that this process has not written to and may not
        // write to: what is dropped is read again from the file, the same.
        unsafe { madvise(start, pages.len(), Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// Where a process has the code and the constants of its program and libraries, by its
/// `/proc/PID/maps` (proc(5)). Of what may only be read now, the part with the ELF header is as
/// the linker wrote it; others hold addresses that were put in before they were sealed.
fn never_written(maps: &str) -> impl Iterator<Item = Range<usize>> {
    maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let kind = rest.starts_with("r-xp ") || rest.starts_with("r--p 00000000 ");
        let (start, end) = range
            .split_once('-')
            .filter(|_| kind && rest.contains(" /"))?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_once_after_each_spell_of_work() {
        let (freed, exchanges, given) = (Rc::new(Notify::new()), Cell::new(0), Cell::new(0));
        let trimming = whenever_quiet(
            freed.clone(),
            || exchanges.get(),
            || given.update(|n| n + 1),
        );
        let mut trimming = std::pin::pin!(trimming);
        let mut after = async |time: Duration| {
            assert!(timeout(time, trimming.as_mut()).await.is_err());
            given.get()
        };
        assert_eq!(after(20 * QUIET).await, 0, "nothing was done yet");
        for _ in 0..20 {
            exchanges.update(|n| n + 1);
            assert_eq!(after(QUIET).await, 0, "work goes on");
        }
        assert_eq!(after(2 * QUIET).await, 1);
        assert_eq!(after(20 * QUIET).await, 1, "there is no more to give");
        freed.notify_one();
        assert_eq!(after(GATHER).await, 2);
        freed.notify_one();
        assert_eq!(after(PAUSE - GATHER).await, 2, "not more often than that");
        assert_eq!(after(2 * GATHER).await, 3);
    }

    #[test]
    fn what_was_written_is_never_dropped() {
        let maps = "\
55d0c0000000-55d0c0100000 r--p 00000000 fd:00 42      /opt/outrigger
55d0c0100000-55d0c0900000 r-xp 00100000 fd:00 42      /opt/outrigger
55d0c0900000-55d0c0a00000 r--p 00900000 fd:00 42      /opt/outrigger
55d0c0a00000-55d0c0b00000 rw-p 00a00000 fd:00 42      /opt/outrigger
55d0c0b00000-55d0c0c00000 rwxp 00000000 00:00 0
55d0c0c00000-55d0c0d00000 r--p 00000000 00:00 0
7f1000000000-7f1000100000 r-xp 00028000 fd:00 43      /usr/lib/libc.so.6
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0       [vdso]
";
        let found: Vec<_> = never_written(maps).map(|pages| pages.start).collect();
        let expected = [0x55d0_c000_0000, 0x55d0_c010_0000, 0x7f10_0000_0000];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_goes_on_without_the_code_that_it_dropped() {
        drop_code().unwrap();
        assert!(drop_code().is_ok());
    }
}
