//! What is refused when it is configured.

use super::*;
use crate::discovery::model::{Filter, HeaderEdit, Mirror, PathRewrite, Redirect, Rewrite};

#[test]
fn every_fault_is_found_and_named() {
    let text = |text: &str| text.to_owned();
    let edit = HeaderEdit {
        set: vec![(text("bad name"), text("v")), (text("x"), text("a\nb"))],
        add: vec![(text("host"), text("evil"))],
        remove: vec![text("Content-Length")],
    };
    let mut bad = route(
        "shop/bad#0",
        &["*", "a b", "http://x", "-a.shop"],
        vec![
            regex("("),
            regex("a)|(b"),
            regex("(?:a{1000}){1000}"),
            exact("no-slash"),
            prefix("/a?b"),
            grpc(None, None, false),
            RouteMatch {
                headers: vec![value("b d", "[", true)],
                ..prefix("/")
            },
            RouteMatch {
                method: Some("G T".into()),
                ..prefix("/")
            },
        ],
    );
    let service: crate::discovery::model::ServiceKey = "shop/x:80".parse().expect("a key");
    let prefix_rewrite = Rewrite {
        path: Some(PathRewrite::Prefix("/x".into())),
        hostname: None,
    };
    bad.filters = vec![
        Filter::RequestHeaders(edit.clone()),
        Filter::RequestHeaders(HeaderEdit::default()),
        Filter::Redirect(Redirect {
            status: Some(200),
            scheme: Some("ftp".into()),
            port: Some(0),
            ..Redirect::default()
        }),
        Filter::Rewrite(prefix_rewrite),
        Filter::Mirror(Mirror {
            service,
            percent: f64::NAN,
        }),
    ];
    bad.timeouts.request = Some(std::time::Duration::from_secs(1));
    bad.timeouts.backend_request = Some(std::time::Duration::from_secs(2));
    let errors = try_table(vec![route("shop/good", &[], vec![]), bad]).expect_err("faults");
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "hostnames[0]",
            "hostnames[1]",
            "hostnames[2]",
            "hostnames[3]",
            "matches[0].path.regex",
            "matches[1].path.regex",
            "matches[2].path.regex",
            "matches[3].path.exact",
            "matches[4].path.prefix",
            "matches[5].grpc",
            "matches[6].headers[0].name",
            "matches[6].headers[0].value",
            "matches[7].method",
            "filters",
            "filters[0].set[0]",
            "filters[0].set[1]",
            "filters[0].add[0]",
            "filters[0].remove[0]",
            "filters[1]",
            "filters[2].status",
            "filters[2].port",
            "filters[2].scheme",
            "filters[4].percent",
            "filters",
            "timeouts.backendRequest",
        ]
    );
    assert!(errors.iter().all(|error| &*error.route == "shop/bad#0"));
    assert!(
        errors[0]
            .to_string()
            .starts_with("route shop/bad#0: hostnames[0]: ")
    );
}
