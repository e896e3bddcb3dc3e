//! The pieces of the hot path, each by itself: what one decision costs. `make bench` measures whole
//! requests and `make cost` counts them; this tells which piece a difference is from.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use divan::Bencher;
use http::{Request, StatusCode, header::HOST, request::Parts};
use outrigger::{
    discovery::model::{
        Endpoint, Endpoints, PathMatch, Protocol, Route, RouteMatch, Service, ServiceKey,
    },
    proxy::{
        balance::{self, Balancer, BalancerConfig},
        detect::detect,
        head::{self, Upgrade},
        route::RouteTable,
    },
    resilience::{
        Breaker, Bulkhead, CallResult, Entry, Outcome, Priority, ResiliencePolicy, RetryBudget,
    },
    telemetry::{
        Direction,
        context::{Sampler, TraceContext},
        metrics::{HttpProtocol, Metrics, RequestLabels},
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LATENCY: Duration = Duration::from_millis(2);

fn main() {
    divan::main();
}

/// A request as a browser's or a library's client sends it.
fn request(path: &str) -> Parts {
    let request = Request::get(path)
        .header(HOST, "cart.shop")
        .header("user-agent", "pieces/1")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, br")
        .header("connection", "keep-alive")
        .header("cookie", "session=0123456789abcdef")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    request.body(()).expect("a valid request").into_parts().0
}

fn key() -> ServiceKey {
    ServiceKey {
        namespace: "shop".into(),
        name: "cart".into(),
        port: 80,
    }
}

#[divan::bench]
fn detect_http1(bencher: Bencher) {
    let bytes = b"GET /cart/items?page=2 HTTP/1.1\r\nHost: cart.shop\r\n";
    bencher.bench(|| detect(black_box(bytes)));
}

#[divan::bench]
fn validate_head(bencher: Bencher) {
    let parts = request("/cart/items");
    bencher.bench(|| head::validate(black_box(&parts)));
}

#[divan::bench]
fn strip_hop_by_hop(bencher: Bencher) {
    let parts = request("/cart/items");
    let headers = bencher.with_inputs(|| parts.headers.clone());
    headers.bench_refs(|headers| head::strip_hop_by_hop(headers, Upgrade::Strip));
}

/// Prefixes, of which the last one matches.
#[divan::bench(args = [1, 10, 1000])]
fn find_route(bencher: Bencher, routes: usize) {
    let route = |n| Route {
        name: format!("shop/route-{n}").into(),
        matches: vec![RouteMatch {
            path: Some(PathMatch::Prefix(format!("/cart/{n}"))),
            ..RouteMatch::default()
        }],
        ..Route::default()
    };
    let service = Service {
        key: key(),
        protocol: Protocol::Http,
        routes: (0..routes).map(route).collect(),
        policy: ResiliencePolicy::default(),
    };
    let table = RouteTable::compile(&service, "shop").expect("valid routes");
    let parts = request(&format!("/cart/{}/items", routes - 1));
    assert!(table.find(&parts).is_some());
    bencher.bench_local(|| table.find(black_box(&parts)).is_some());
}

/// From the choice of an endpoint to the end of its request.
#[divan::bench(args = [1, 3, 100, 10_000])]
fn balance(bencher: Bencher, endpoints: u32) {
    let endpoint = |n| Endpoint {
        addr: SocketAddr::new(Ipv4Addr::from_bits(0xC612_0000 + n).into(), 80),
        weight: 1,
        zone: None,
        identity: None,
    };
    let all = Endpoints {
        service: key(),
        endpoints: (0..endpoints).map(endpoint).collect(),
    };
    let mut balancer = Balancer::new(BalancerConfig::default());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut now = Instant::now();
    balancer.update(&all, now);
    bencher.bench_local(|| {
        now += LATENCY;
        let id = balancer.pick(now, &mut rng, |_| 1.0).expect("all take");
        balancer.started(id);
        balancer.finished(id, now, LATENCY, balance::Outcome::Success);
    });
}

fn success() -> Outcome {
    Outcome {
        result: CallResult::Success,
        latency: LATENCY,
        retry_after: None,
    }
}

#[divan::bench]
fn breaker(bencher: Bencher) {
    let mut breaker = Breaker::new(ResiliencePolicy::default().breaker, 1);
    let mut now = Instant::now();
    bencher.bench_local(|| {
        now += LATENCY;
        let permit = breaker.admit(now).expect("it never fails");
        breaker.record(now, permit, success())
    });
}

#[divan::bench]
fn bulkhead(bencher: Bencher) {
    let mut bulkhead = Bulkhead::new(&ResiliencePolicy::default().bulkhead);
    let mut now = Instant::now();
    bencher.bench_local(|| {
        now += LATENCY;
        match bulkhead.enter(now, Priority::Default, None) {
            Entry::Admitted(place) => drop(bulkhead.leave(now, place, Some(&success()))),
            _ => unreachable!("it is never full"),
        }
    });
}

#[divan::bench]
fn retry_budget(bencher: Bencher) {
    let mut budget = RetryBudget::new(&ResiliencePolicy::default().retry);
    let mut now = Instant::now();
    bencher.bench_local(|| {
        now += LATENCY;
        budget.deposit(now);
    });
}

#[divan::bench]
fn trace_context(bencher: Bencher) {
    let parts = request("/cart/items");
    let sampler = Sampler::ratio(0.01);
    bencher.bench(|| TraceContext::receive(black_box(&parts.headers), sampler));
}

#[divan::bench]
fn count_request(bencher: Bencher) {
    let series = Metrics::new().request_series(RequestLabels {
        direction: Direction::Outbound,
        service: "shop/cart:80".into(),
        route: "shop/cart".into(),
        protocol: HttpProtocol::Http1,
    });
    bencher.bench(|| {
        let under_way = series.started();
        series.finished(Some(StatusCode::OK), None, LATENCY);
        series.response_bytes(1024);
        drop(under_way);
    });
}
