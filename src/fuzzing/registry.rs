use std::{collections::BTreeSet, path::Path};

use super::resource;
use crate::{controller::registry_file::Registry, identity::SpiffeId};

/// A registry file. One that is read stands for resources that every proxy accepts, each once; one
/// that is refused says at which places of the text, in a bounded number of lines.
pub fn registry(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match Registry::parse(Path::new("registry.yaml"), text) {
        Ok(registry) => check(&registry),
        Err(refused) => {
            assert!((1..=20).contains(&refused.mistakes.len()));
            let lines = text
                .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                .count() as u64;
            for mistake in &refused.mistakes {
                let line = mistake.position.line;
                assert!(
                    (1..=lines + 1).contains(&line),
                    "line {line} of {lines}: {refused}"
                );
            }
        }
    }
}

fn check(registry: &Registry) {
    assert!(SpiffeId::new(&registry.trust_domain, "any", "any").is_ok());
    let mut names = BTreeSet::new();
    for (name, value) in &registry.resources {
        assert!(name.is_well_formed(), "{name}");
        assert!(names.insert(name), "{name} twice");
        resource::check(name, value);
    }
    for id in registry.tokens.values() {
        assert_eq!(id.trust_domain(), registry.trust_domain);
    }
}
