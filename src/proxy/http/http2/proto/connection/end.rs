//! Ends: of streams, and of the connection (RFC 9113, sections 5.4 and 6.8).

use std::io;

use super::{
    super::{
        error::{Error, Reason, Side},
        flow::MAX_WINDOW,
        frame,
        streams::{Half, Key, Turn},
    },
    Connection, Ending, RESET_STREAMS, Role, ours,
    receive::LAST_PING,
};

impl Connection {
    /// Resets a stream, and whoever sends or reads hears of it.
    pub fn reset(&mut self, key: Key, reason: Reason) {
        let stream = &self.streams[key];
        if !stream.open {
            return;
        }
        let id = stream.id;
        frame::reset(self.out.buffer(), id, reason);
        self.wake_driver();
        self.ignore(id);
        self.end_stream(key, ours(reason));
    }

    /// Frames that come for it are no fault any more: they were under way.
    pub(super) fn ignore(&mut self, id: u32) {
        if self.reset_order.len() >= RESET_STREAMS
            && let Some(oldest) = self.reset_order.pop_front()
        {
            self.reset.remove(&oldest);
        }
        self.reset.insert(id);
        self.reset_order.push_back(id);
    }

    /// The peer broke a rule on one stream.
    pub(super) fn fail_stream(&mut self, id: u32, reason: Reason) {
        match self.streams.find(id) {
            Some(key) => self.reset(key, reason),
            None => {
                frame::reset(self.out.buffer(), id, reason);
                self.ignore(id);
            }
        }
        if self.errors.count((self.config.clock)()).is_err() {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// The peer broke a rule that all streams depend on.
    pub(super) fn fail(&mut self, reason: Reason) {
        frame::go_away(self.out.buffer(), self.last_peer, reason);
        let side = Side::Ours;
        self.fail_all(Error::GoAway { reason, side });
    }

    /// Nothing comes or goes any more.
    pub fn lose(&mut self, error: io::Error) {
        if self.is_busy() || error.kind() != io::ErrorKind::UnexpectedEof {
            return self.fail_all(error.into());
        }
        // Between two exchanges it is an end as others are.
        self.fail_all(Error::GoAway {
            reason: Reason::NO_ERROR,
            side: Side::Peer,
        });
    }

    fn fail_all(&mut self, error: Error) {
        for key in self.streams.keys() {
            self.end_stream(key, error.clone());
        }
        self.failed.get_or_insert(error);
        self.block = None;
        self.wake_driver();
    }

    /// Nothing more happens on a stream, and whoever waits learns why.
    pub(super) fn end_stream(&mut self, key: Key, error: Error) {
        self.end_turn(key);
        let stream = &mut self.streams[key];
        stream.error = Some(error);
        stream.wake_reader();
        stream.wake_writer();
        self.settle(key);
    }

    /// Lets go of a stream that has ended.
    pub(super) fn settle(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        if stream.open && stream.is_over() {
            self.streams.close(key);
            // Somebody may wait for its place, or for all to be over.
            if self.is_closed() || self.abandoned || self.blocked > 0 {
                self.wake_driver();
            }
        }
        let stream = &self.streams[key];
        if !stream.open && !stream.reader && !stream.writer {
            debug_assert!(stream.turn == Turn::None, "{} waits on", stream.id);
            self.streams.free(key);
        }
    }

    /// Nobody takes what comes any more.
    pub fn drop_reader(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        stream.reader = false;
        let unread = stream.discard();
        let wanted = stream.open && stream.receiving != Half::Ended;
        let answered = stream.sending == Half::Ended;
        if unread > 0 {
            self.was_read(None, unread as usize);
        }
        if wanted {
            match self.config.role {
                Role::Client => return self.reset(key, Reason::CANCEL),
                Role::Server if answered => return self.reset(key, Reason::NO_ERROR),
                // The answer goes on.
                Role::Server => {}
            }
        }
        self.settle(key);
    }

    /// Nobody sends any more. What has not ended is cancelled.
    pub fn drop_writer(&mut self, key: Key) {
        self.end_turn(key);
        let stream = &mut self.streams[key];
        stream.writer = false;
        stream.write_waker = None;
        if stream.open && stream.sending != Half::Ended {
            return self.reset(key, Reason::CANCEL);
        }
        self.settle(key);
    }

    /// Nobody will open a stream any more.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.wake_driver();
    }

    /// Begins to end the connection: the peer is told, and what is under way is finished.
    pub fn shut_down(&mut self) {
        if self.ending != Ending::No || self.failed.is_some() {
            return;
        }
        self.ending = Ending::Announced;
        let out = self.out.buffer();
        frame::go_away(out, MAX_WINDOW, Reason::NO_ERROR);
        frame::ping(out, 0, &LAST_PING);
        self.wake_driver();
    }

    /// The peer knows of the end, so that what it has opened by now is all it will.
    pub(super) fn tell_end(&mut self) {
        self.ending = Ending::Told;
        frame::go_away(self.out.buffer(), self.last_peer, Reason::NO_ERROR);
    }

    /// The last word on a connection that nobody needs any more.
    pub fn say_goodbye(&mut self) {
        if self.failed.is_none() && self.gone.is_none() && self.ending != Ending::Told {
            self.tell_end();
        }
    }
}
