//! What the two kinds of routes have in common: references, header matches, filters.

use std::sync::Arc;

use kube::api::ObjectMeta;

use super::{super::reference::Reference, MirrorTo};
use crate::{
    controller::kubernetes::{
        api::{
            GATEWAY_GROUP,
            gateway::{BackendRef, Header, HeaderMatch, HeaderModifier, Mirror, ParentRef},
        },
        findings::TargetRef,
    },
    discovery::{
        model::{HeaderEdit, ValueMatch},
        validate::Checker,
    },
};

/// The parents that are Services; Gateways are others' business.
pub(super) fn parents(parents: &[ParentRef]) -> Vec<TargetRef> {
    let services = parents.iter().filter(|parent| {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        group.is_empty() && parent.kind.as_deref() == Some("Service")
    });
    let target = |parent: &ParentRef| TargetRef {
        group: String::new(),
        kind: "Service".into(),
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
        section_name: parent.section_name.clone(),
        port: parent.port,
    };
    services.map(target).collect()
}

pub(super) fn reference(namespace: &str, to: &BackendRef) -> Reference {
    Reference {
        group: to.group.as_deref().unwrap_or_default().into(),
        kind: to.kind.as_deref().unwrap_or("Service").into(),
        namespace: to.namespace.as_deref().unwrap_or(namespace).into(),
        name: to.name.as_str().into(),
        port: to.port,
    }
}

/// Whether a match is by regular expression.
pub(super) fn is_regex(c: &mut Checker, kind: Option<&str>) -> bool {
    match kind {
        None | Some("Exact") => false,
        Some("RegularExpression") => true,
        Some(other) => {
            let reason = format!("{other} is not supported: use Exact or RegularExpression");
            c.field("type", |c| c.report(reason));
            false
        }
    }
}

pub(super) fn values(c: &mut Checker, field: &str, matches: &[HeaderMatch]) -> Vec<ValueMatch> {
    let mut values = Vec::new();
    c.each(field, matches, |c, a_match| {
        values.push(ValueMatch {
            name: a_match.name.clone(),
            value: a_match.value.clone(),
            regex: is_regex(c, a_match.kind.as_deref()),
        });
    });
    values
}

pub(super) fn edit(modifier: Option<&HeaderModifier>) -> HeaderEdit {
    let Some(modifier) = modifier else {
        return HeaderEdit::default();
    };
    let pair = |header: &Header| (header.name.clone(), header.value.clone());
    let pairs = |headers: &[Header]| headers.iter().map(pair).collect();
    HeaderEdit {
        set: pairs(&modifier.set),
        add: pairs(&modifier.add),
        remove: modifier.remove.clone(),
    }
}

pub(super) fn mirror(namespace: &str, mirror: Option<&Mirror>) -> Option<MirrorTo> {
    let mirror = mirror?;
    let of_fraction = mirror.fraction.as_ref().map(|fraction| {
        let whole = fraction.denominator.unwrap_or(100).max(1);
        100.0 * f64::from(fraction.numerator) / f64::from(whole)
    });
    Some(MirrorTo {
        to: reference(namespace, &mirror.backend_ref),
        percent: mirror
            .percent
            .map(f64::from)
            .or(of_fraction)
            .unwrap_or(100.0),
    })
}

pub(super) fn unsupported(c: &mut Checker, what: &str) {
    c.report(format!("{what} is not supported: remove it"));
}

/// Which object of a name this is: one that is made anew has another.
pub(in super::super) fn uid(meta: &ObjectMeta) -> Arc<str> {
    meta.uid.as_deref().unwrap_or_default().into()
}

/// Seconds since 1970.
pub(in super::super) fn created(meta: &ObjectMeta) -> i64 {
    let created = meta.creation_timestamp.as_ref();
    created.map_or(0, |time| time.0.as_second())
}
