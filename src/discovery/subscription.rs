//! What a part of the proxy holds while it needs a resource.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use super::{
    resource::{Discovered, Resource, ResourceName},
    table::Table,
};

use crate::host::watch;

/// What is known about a resource.
#[derive(Debug)]
pub enum State<T> {
    /// Nothing yet: neither the controller nor the snapshot has said.
    Pending,
    /// The controller says that there is none; or there are too many subscriptions.
    Absent,
    Present(Arc<T>),
}

impl<T> State<T> {
    pub fn present(self) -> Option<Arc<T>> {
        match self {
            Self::Present(value) => Some(value),
            Self::Pending | Self::Absent => None,
        }
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Absent => Self::Absent,
            Self::Present(value) => Self::Present(value.clone()),
        }
    }
}

/// [`State`] before its type is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    Pending,
    Absent,
    Present(Resource),
}

/// A live view of one resource. Clones share the interest: when the last one is dropped, the
/// resource is kept for the idle time and then forgotten.
#[derive(Debug)]
pub struct Subscription<T> {
    known: watch::Receiver<Known>,
    /// `None` for the subscriptions that were refused.
    _lease: Option<Arc<Lease>>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Self {
            known: self.known.clone(),
            _lease: self._lease.clone(),
            of: PhantomData,
        }
    }
}

impl<T: Discovered> Subscription<T> {
    pub(super) fn new(known: watch::Receiver<Known>, lease: Option<Lease>) -> Self {
        Self {
            known,
            _lease: lease.map(Arc::new),
            of: PhantomData,
        }
    }

    /// What is known now. Takes a read lock that is only ever contended while the resource
    /// changes.
    pub fn current(&self) -> State<T> {
        match &*self.known.borrow() {
            Known::Pending => State::Pending,
            Known::Absent => State::Absent,
            Known::Present(resource) => T::from_resource(resource)
                .map_or(State::Absent, |value| State::Present(value.clone())),
        }
    }

    /// Waits until the state is another than it was when this subscription was made or last
    /// waited. Never returns once the client is gone. Cancel safe.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits, at most `within`, until it is known whether there is such a resource.
    pub async fn known(&mut self, within: Duration) -> State<T> {
        let known = self.known.wait_for(|known| *known != Known::Pending);
        // Too late, or the client is gone: either way what is current is the answer.
        let _ = tokio::time::timeout(within, known).await.map(|_| ());
        self.current()
    }
}

/// Interest in a resource, given back by `Drop`.
#[derive(Debug)]
pub(super) struct Lease {
    table: Arc<Table>,
    name: ResourceName,
}

impl Lease {
    pub(super) fn new(table: Arc<Table>, name: ResourceName) -> Self {
        Self { table, name }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.table.release(&self.name);
    }
}
