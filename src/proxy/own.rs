//! What this proxy's own workload takes: who may call it, asked before anything reaches the
//! application.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    access::{Call, Table, Verdict},
    discovery::{
        State, Subscription,
        model::{MtlsMode, Workload},
    },
    host,
    identity::SpiffeId,
};

/// How long a connection waits for the control plane's first word about the workload.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// A caller that is refused again and again is logged once in so long.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Callers that are remembered for that.
const MAX_LOGGED: usize = 1_024;
/// Bytes of a longer path that are logged.
const MAX_PATH: usize = 256;

/// The workload as the control plane describes it, with its rules ready to be asked.
pub struct Own {
    pub workload: Arc<Workload>,
    access: Option<Table>,
}

/// One worker's view of it.
pub struct OwnWorkload {
    said: Subscription<Workload>,
    trust_domain: String,
    /// What the proxy's own command line says.
    mtls: MtlsMode,
    now: RefCell<Option<Rc<Own>>>,
    logged: RefCell<HashMap<Logged, Instant>>,
}

/// What one log line stands for.
type Logged = (Option<SpiffeId>, u16, bool);

impl OwnWorkload {
    pub fn new(said: Subscription<Workload>, trust_domain: &str, mtls: MtlsMode) -> Self {
        let own = Self {
            said,
            trust_domain: trust_domain.to_owned(),
            mtls,
            now: RefCell::default(),
            logged: RefCell::default(),
        };
        own.refresh();
        own
    }

    /// Takes what the control plane says now. A workload that it no longer knows keeps what it
    /// had: it must not stand open.
    pub fn refresh(&self) {
        let State::Present(workload) = self.said.current() else {
            return;
        };
        let mut now = self.now.borrow_mut();
        if now
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(&own.workload, &workload))
        {
            return;
        }
        let access = workload.access.as_ref();
        let access = access.map(|access| Table::compile(access, &self.trust_domain));
        *now = Some(Rc::new(Own { workload, access }));
    }

    pub fn now(&self) -> Option<Rc<Own>> {
        self.now.borrow().clone()
    }

    /// `None` where the control plane does not say within a moment what the workload takes.
    pub async fn known(&self) -> Option<Rc<Own>> {
        if let Some(own) = self.now() {
            return Some(own);
        }
        self.said.clone().known(FIRST_WORD).await;
        self.refresh();
        self.now()
    }

    /// Whether the rules in force let a call pass. What they do not is logged, once in a while for
    /// each caller.
    pub fn decide(&self, call: &Call<'_>) -> Verdict {
        let Some(own) = self.now() else {
            return Verdict::Denied;
        };
        let Some(table) = &own.access else {
            return Verdict::Allowed;
        };
        let verdict = table.decide(call);
        if verdict != Verdict::Allowed {
            self.log(table, call, verdict);
        }
        verdict
    }

    /// How plaintext from the network is met: the stricter of what the control plane and the
    /// command line say.
    pub fn mtls(&self, workload: &Workload) -> MtlsMode {
        match (self.mtls, workload.mtls) {
            (MtlsMode::Permissive, MtlsMode::Permissive) => MtlsMode::Permissive,
            _ => MtlsMode::Strict,
        }
    }

    /// Whether a caller without identity is turned away, whatever it calls.
    pub fn refuses_plaintext(&self) -> bool {
        let own = self.now();
        own.is_none_or(|own| self.mtls(&own.workload) == MtlsMode::Strict)
    }

    /// Whether a call would pass; logs nothing.
    pub fn lets_pass(&self, call: &Call<'_>) -> bool {
        if call.caller.is_none() && self.refuses_plaintext() {
            return false;
        }
        let passes = |table: &Table| table.decide(call) != Verdict::Denied;
        let own = self.now();
        own.is_some_and(|own| own.access.as_ref().is_none_or(passes))
    }

    /// Returns when the rules no longer let a connection go on that began with this call.
    pub async fn until_denied(&self, call: &Call<'_>) {
        let mut said = self.said.clone();
        loop {
            said.changed().await;
            self.refresh();
            if !self.lets_pass(call) {
                return;
            }
        }
    }

    fn log(&self, table: &Table, call: &Call<'_>, verdict: Verdict) {
        let denied = verdict == Verdict::Denied;
        let now = host::now();
        let mut logged = self.logged.borrow_mut();
        let key = (call.caller.cloned(), call.port, denied);
        let recent = |at: &Instant| now.duration_since(*at) < LOG_EVERY;
        if logged.get(&key).is_some_and(recent) {
            return;
        }
        if logged.len() >= MAX_LOGGED {
            logged.retain(|_, at| recent(at));
        }
        if logged.len() >= MAX_LOGGED {
            return;
        }
        logged.insert(key, now);
        let caller = call.caller.map_or("(plaintext)", SpiffeId::as_str);
        let policies: Vec<&str> = table.policies(call.port).map(|name| &**name).collect();
        // Debug formatting escapes what a client may have put into them.
        let method = call.http.map(|http| http.method.as_str());
        let path = call
            .http
            .map(|http| http.path.get(..MAX_PATH).unwrap_or(http.path));
        let (port, policies) = (call.port, policies.join(" "));
        if denied {
            tracing::info!(caller, port, policies, ?method, ?path, "access denied");
        } else {
            tracing::info!(
                caller,
                port,
                policies,
                ?method,
                ?path,
                "access would be denied"
            );
        }
    }
}
