//! Work of decoders that are not ours and panic on some damaged files: to a caller that is a file that cannot be read.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the work gives; none if it panics. Nothing that it may have left half done must be used again.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = IS_GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(before);
    done.ok()
}

/// Keeps the messages of guarded panics from the terminal, where the error that is made of each is told anyway. A program calls this
/// once, when it starts; a library leaves the hook of panics alone.
pub fn silence() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_GUARDED.get() {
            usual(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::{IS_GUARDED, guarded};

    #[test]
    fn a_panic_inside_is_none_and_those_outside_stay_loud() {
        assert_eq!(guarded(|| 1), Some(1));
        let inside = guarded(|| {
            assert!(IS_GUARDED.get());
            assert_eq!(guarded(|| panic!("the inner decoder")), None::<()>);
            assert!(IS_GUARDED.get(), "still inside the outer one");
            panic!("the outer decoder")
        });
        assert_eq!(inside, None::<()>);
        assert!(!IS_GUARDED.get());
    }
}
