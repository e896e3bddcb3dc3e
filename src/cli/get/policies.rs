//! `outrigger get policies`: policies and routes, what they are attached to, and what became of
//! them.

use serde::Serialize;

use super::{Report, Scope};
use crate::cli::cluster::{Policy, Table};

#[derive(Serialize)]
pub struct Policies {
    policies: Vec<Policy>,
    #[serde(skip)]
    scope: Scope,
}

impl Policies {
    pub fn new(policies: Vec<Policy>, scope: &Scope) -> Self {
        Self {
            policies,
            scope: scope.clone(),
        }
    }
}

impl Report for Policies {
    fn text(&self) -> String {
        let mut table = Table::new(&["KIND", "NAME", "TARGETS", "STATUS", "MESSAGE"]);
        for policy in &self.policies {
            let (status, message) = status(policy);
            table.row([
                policy.kind.clone(),
                format!("{}/{}", policy.namespace, policy.name),
                policy.targets.join(","),
                status,
                message,
            ]);
        }
        match table.is_empty() {
            true => format!("No policy and no route in {}.\n", self.scope),
            false => table.to_string(),
        }
    }
}

/// The first condition that is not met; else that all are, with the word about the proxies.
fn status(policy: &Policy) -> (String, String) {
    let bad = policy
        .conditions
        .iter()
        .find(|condition| condition.status == "False");
    if let Some(bad) = bad {
        return (format!("not {}", bad.type_), bad.message.clone());
    }
    let Some(last) = policy.conditions.last() else {
        let message = "no controller has looked at it yet, or its target is not of this mesh";
        return ("unknown".to_owned(), message.to_owned());
    };
    let accepted = policy
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Accepted");
    let shown = accepted.map_or(&last.type_, |condition| &condition.type_);
    (shown.clone(), last.message.clone())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::cli::cluster::Condition;

    fn policy(name: &str, conditions: Vec<Condition>) -> Policy {
        Policy {
            kind: "AccessPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            targets: vec!["Service/cart".into()],
            conditions,
        }
    }

    fn condition(type_: &str, status: &str, message: &str) -> Condition {
        Condition {
            type_: type_.into(),
            status: status.into(),
            reason: "R".into(),
            message: message.into(),
        }
    }

    #[test]
    fn shows_what_became_of_each() {
        let good = policy(
            "good",
            vec![
                condition("Accepted", "True", ""),
                condition("Programmed", "True", "in force in 3 of 3 proxies"),
            ],
        );
        let bad = policy(
            "bad",
            vec![
                condition("Accepted", "True", ""),
                condition("ResolvedRefs", "False", "there is no Service cart in shop"),
            ],
        );
        let shown = Policies::new(vec![good, bad, policy("new", Vec::new())], &testing::shop());
        insta::assert_snapshot!(shown.text(), @r#"
        KIND           NAME        TARGETS        STATUS             MESSAGE
        AccessPolicy   shop/good   Service/cart   Accepted           in force in 3 of 3 proxies
        AccessPolicy   shop/bad    Service/cart   not ResolvedRefs   there is no Service cart in shop
        AccessPolicy   shop/new    Service/cart   unknown            no controller has looked at it yet, or its target is not of this mesh
        "#);
        let none = Policies::new(Vec::new(), &Scope::All);
        assert_eq!(none.text(), "No policy and no route in any namespace.\n");
    }
}
