//! Giving memory back to the system. An allocator does so while it is used, and a proxy whose
//! connections have all gone quiet uses it no more.
#![allow(unsafe_code)]

use std::{rc::Rc, time::Duration};

use tokio::sync::Notify;

/// What is freed together is given back together.
const GATHER: Duration = Duration::from_millis(100);
/// Not more often than this: each time costs up to a millisecond.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives memory back whenever much has been freed.
pub async fn trim(freed: Rc<Notify>) {
    loop {
        freed.notified().await;
        tokio::time::sleep(GATHER).await;
        // SAFETY: the allocator's own function, which may be called at any time on any thread. It
        // touches nothing that is allocated.
        unsafe { libmimalloc_sys::mi_collect(true) };
        tokio::time::sleep(PAUSE).await;
    }
}
