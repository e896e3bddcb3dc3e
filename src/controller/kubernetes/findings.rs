//! What the registry made of each route and policy: the registry finds, the status writer tells.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::discovery::resource::ResourceName;

/// The kinds of objects that have a status of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    HttpRoute,
    GrpcRoute,
    ResiliencePolicy,
    AccessPolicy,
}

/// One object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    pub kind: ObjectKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What an object is attached to: a route's parent, a policy's target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRef {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
    /// As the object states it: absent means the object's own.
    pub namespace: Option<String>,
    pub name: String,
    pub section_name: Option<String>,
    pub port: Option<u16>,
}

#[cfg(test)]
impl TargetRef {
    /// A Service of the object's own namespace.
    pub fn service(name: &str) -> Self {
        Self {
            group: String::new(),
            kind: "Service".into(),
            namespace: None,
            name: name.into(),
            section_name: None,
            port: None,
        }
    }
}

/// One condition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Good, but for what its author should know.
    Noted {
        message: String,
    },
    /// A reason of the Gateway API (`NoMatchingParent`, `BackendNotFound`, `Invalid`, …) and what
    /// to do about it.
    Bad {
        reason: &'static str,
        message: String,
    },
}

impl Verdict {
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bad { reason, .. }, Self::Bad { reason: other, .. }) => reason == other,
            (Self::Bad { .. }, _) | (_, Self::Bad { .. }) => false,
            (_, _) => true,
        }
    }
}

/// An object at one of the things it is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub target: TargetRef,
    pub accepted: Verdict,
    pub resolved: Verdict,
    /// The discovery resources that the object is part of: who has acknowledged them, has it.
    pub resources: Vec<ResourceName>,
}

/// An object, at the generation that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which object of its name: one that is deleted and made anew has no status yet.
    pub uid: Arc<str>,
    pub generation: i64,
    pub attachments: Vec<Attachment>,
}

impl Finding {
    /// Whether it says the same but for words: of how many pods, for example.
    pub fn is_alike(&self, other: &Self) -> bool {
        let alike = |(one, other): (&Attachment, &Attachment)| {
            one.accepted.is_alike(&other.accepted)
                && one.target == other.target
                && one.resolved == other.resolved
                && one.resources == other.resources
        };
        let pairs = || self.attachments.iter().zip(&other.attachments);
        (&self.uid, self.generation) == (&other.uid, other.generation)
            && self.attachments.len() == other.attachments.len()
            && pairs().all(alike)
    }
}

/// All of them.
pub type Findings = BTreeMap<ObjectRef, Finding>;
