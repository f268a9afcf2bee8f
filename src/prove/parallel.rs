//! The same work on many things at once, results in the order of the things.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` for every number below `count`, on as many threads.
pub fn each<R: Send>(count: usize, threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, work(number)));
        }
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads.clamp(1, count.max(1))).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            // A panic of a thread goes on in this one.
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        for count in [0, 1, 2, 100] {
            for threads in [0, 1, 2, 7] {
                let squares: Vec<usize> = (0..count).map(|n| n * n).collect();
                assert_eq!(each(count, threads, |n| n * n), squares);
            }
        }
    }
}
