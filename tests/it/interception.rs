//! The rules in force: what they turn to the proxy, what they leave alone, and what the proxy
//! can then learn of where a connection was going.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    num::NonZeroU32,
    process::Command,
};

use outrigger::{
    host::original_dst::original_dst,
    netns::{Pod, VIRTUAL_V4, VIRTUAL_V6, World},
    proxy::interception::{self, Interception},
};

use crate::inside::{accept, both, dial, inside, is_idle, listen};

const OUTBOUND: u16 = 14_001;
const INBOUND: u16 = 14_006;
const ADMIN: u16 = 14_020;

/// A pod whose traffic goes to two listeners, and a pod without rules to talk with.
struct Scene {
    meshed: Pod,
    plain: Pod,
    outbound: TcpListener,
    inbound: TcpListener,
    _world: World,
}

impl Scene {
    fn new(interception: Interception) -> Self {
        let mut world = World::new().unwrap();
        let (meshed, plain) = (world.pod("meshed").unwrap(), world.pod("plain").unwrap());
        let outbound = listen(&meshed, OUTBOUND);
        let inbound = listen(&meshed, INBOUND);
        let scene = Self {
            meshed,
            plain,
            outbound,
            inbound,
            _world: world,
        };
        scene.apply(interception);
        scene
    }

    fn apply(&self, interception: Interception) {
        let ruleset = Interception {
            inbound_port: INBOUND,
            outbound_port: OUTBOUND,
            admin_port: ADMIN,
            ..interception
        }
        .ruleset();
        self.meshed
            .within(|| interception::apply(&ruleset))
            .unwrap();
    }

    /// A connection from the meshed pod that the rules leave alone.
    fn leaves_alone(&self, from: &Pod, server: &TcpListener, addr: SocketAddr) {
        let client = dial(from, addr).unwrap();
        let accepted = accept(server);
        assert_eq!(
            accepted.peer_addr().unwrap().port(),
            client.local_addr().unwrap().port()
        );
        assert!(is_idle(&self.outbound) && is_idle(&self.inbound), "{addr}");
    }
}

/// The address of a service, which leads nowhere by itself.
fn virtual_addresses(port: u16) -> [SocketAddr; 2] {
    let v4 = Ipv4Addr::from_bits(VIRTUAL_V4.to_bits() | 7);
    let v6 = Ipv6Addr::from_bits(VIRTUAL_V6.to_bits() | 7);
    [(v4, port).into(), (v6, port).into()]
}

#[test]
fn outbound_goes_to_the_proxy_which_learns_where_it_was_going() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let pods = both(&scene.plain, 80);
        for addr in pods.into_iter().chain(virtual_addresses(80)) {
            let _client = dial(&scene.meshed, addr).unwrap();
            let accepted = accept(&scene.outbound);
            assert_eq!(original_dst(&accepted).unwrap().addr(), addr);
        }
        assert!(is_idle(&scene.inbound));
    });
}

#[test]
fn inbound_goes_to_the_proxy_which_learns_where_it_was_going() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let app = listen(&scene.meshed, 8080);
        for addr in both(&scene.meshed, 8080) {
            let _client = dial(&scene.plain, addr).unwrap();
            let accepted = accept(&scene.inbound);
            assert_eq!(original_dst(&accepted).unwrap().addr(), addr);
        }
        assert!(is_idle(&scene.outbound) && is_idle(&app));
    });
}

#[test]
fn an_app_that_dials_itself_is_left_alone() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let app = listen(&scene.meshed, 8080);
        let loopback = ["127.0.0.1:8080", "[::1]:8080"].map(|addr| addr.parse().unwrap());
        for addr in both(&scene.meshed, 8080).into_iter().chain(loopback) {
            scene.leaves_alone(&scene.meshed, &app, addr);
        }
    });
}

#[test]
fn the_admin_port_is_reached_from_outside() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let admin = listen(&scene.meshed, ADMIN);
        for addr in both(&scene.meshed, ADMIN) {
            scene.leaves_alone(&scene.plain, &admin, addr);
        }
    });
}

#[test]
fn the_proxys_own_connections_are_known_by_mark_and_by_user() {
    inside(|| {
        let mark = NonZeroU32::new(0x539).unwrap();
        let scene = Scene::new(Interception {
            proxy_mark: Some(mark),
            ..Interception::default()
        });
        let server = listen(&scene.plain, 80);
        for addr in both(&scene.plain, 80) {
            let marked = |addr: SocketAddr| {
                let socket = socket2::Socket::new(
                    socket2::Domain::for_address(addr),
                    socket2::Type::STREAM,
                    None,
                )?;
                socket.set_mark(mark.get())?;
                socket.connect(&addr.into())
            };
            scene.meshed.within(|| marked(addr)).unwrap();
            accept(&server);
            // The same without the mark.
            let _client = dial(&scene.meshed, addr).unwrap();
            accept(&scene.outbound);
        }
        scene.apply(Interception {
            proxy_uid: Some(rustix::process::geteuid().as_raw()),
            ..Interception::default()
        });
        for addr in both(&scene.plain, 80) {
            scene.leaves_alone(&scene.meshed, &server, addr);
        }
    });
}

#[test]
fn udp_is_left_alone_in_both_directions() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let socket = |pod: &Pod| pod.within(|| UdpSocket::bind("[::]:53")).unwrap();
        let (meshed, plain) = (socket(&scene.meshed), socket(&scene.plain));
        for (from, to, pod) in [
            (&meshed, &plain, &scene.plain),
            (&plain, &meshed, &scene.meshed),
        ] {
            for addr in both(pod, 53) {
                // A dual-stack socket sends to IPv4 by its mapped form.
                let addr = match addr {
                    SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 53).into(),
                    v6 => v6,
                };
                from.send_to(b"question", addr).unwrap();
                let mut received = [0; 16];
                let (len, _) = to.recv_from(&mut received).unwrap();
                assert_eq!(&received[..len], b"question");
            }
        }
    });
}

#[test]
fn skipped_ports_and_subnets_are_left_alone() {
    inside(|| {
        let scene = Scene::new(Interception {
            skip_outbound_ports: vec!["25".parse().unwrap(), "3306-3310".parse().unwrap()],
            skip_inbound_ports: vec!["9090".parse().unwrap(), "7000-7001".parse().unwrap()],
            ..Interception::default()
        });
        for port in [25, 3306, 3308, 3310] {
            let server = listen(&scene.plain, port);
            for addr in both(&scene.plain, port) {
                scene.leaves_alone(&scene.meshed, &server, addr);
            }
        }
        for port in [9090, 7000, 7001] {
            let server = listen(&scene.meshed, port);
            for addr in both(&scene.meshed, port) {
                scene.leaves_alone(&scene.plain, &server, addr);
            }
        }
        for (pod, peer, ports, proxy) in [
            (
                &scene.meshed,
                &scene.plain,
                [24, 3305, 3311],
                &scene.outbound,
            ),
            (
                &scene.plain,
                &scene.meshed,
                [9089, 6999, 7002],
                &scene.inbound,
            ),
        ] {
            for port in ports {
                for addr in both(peer, port) {
                    let _client = dial(pod, addr).unwrap();
                    accept(proxy);
                }
            }
        }
    });
}

#[test]
fn skipped_subnets_are_left_alone() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let client = listen(&scene.plain, 80);
        let server = listen(&scene.meshed, 80);
        let (v4, v6) = (scene.plain.v4, scene.plain.v6);
        for (skipped, skips_v4, skips_v6) in [
            ("198.18.0.0/15".to_owned(), true, false),
            (v4.to_string(), true, false),
            ("0.0.0.0/0".to_owned(), true, false),
            ("fd00:198:18::/49".to_owned(), false, true),
            (v6.to_string(), false, true),
            ("::/0".to_owned(), false, true),
            ("192.0.2.0/24".to_owned(), false, false),
        ] {
            let subnet = vec![skipped.parse().unwrap()];
            scene.apply(Interception {
                skip_outbound_subnets: subnet.clone(),
                skip_inbound_subnets: subnet,
                ..Interception::default()
            });
            let ways = [
                (&scene.meshed, &scene.plain, &client, &scene.outbound),
                (&scene.plain, &scene.meshed, &server, &scene.inbound),
            ];
            for (from, to, app, proxy) in ways {
                for (addr, is_skipped) in both(to, 80).into_iter().zip([skips_v4, skips_v6]) {
                    let _client = dial(from, addr).unwrap();
                    accept(if is_skipped { app } else { proxy });
                }
            }
        }
    });
}

#[test]
fn rules_replace_each_other_and_go_away() {
    inside(|| {
        let scene = Scene::new(Interception::default());
        let server = listen(&scene.plain, 80);
        let other = listen(&scene.meshed, 15_001);
        let moved = Interception {
            outbound_port: 15_001,
            inbound_port: INBOUND,
            admin_port: ADMIN,
            ..Interception::default()
        };
        for _ in 0..2 {
            scene
                .meshed
                .within(|| interception::apply(&moved.ruleset()))
                .unwrap();
            let _client = dial(&scene.meshed, both(&scene.plain, 80)[0]).unwrap();
            accept(&other);
        }
        for _ in 0..2 {
            scene.meshed.within(interception::remove).unwrap();
            scene.leaves_alone(&scene.meshed, &server, both(&scene.plain, 80)[0]);
        }
    });
}

/// Where nft is installed: it reads the kernel's rules as the text that we print.
#[test]
fn nft_agrees_with_the_printed_rules() {
    inside(|| {
        let ruleset = Interception {
            proxy_uid: Some(64_321),
            proxy_mark: NonZeroU32::new(0x539),
            inbound_port: INBOUND,
            outbound_port: OUTBOUND,
            admin_port: ADMIN,
            probe_port: None,
            skip_inbound_ports: vec![9090.into()],
            skip_outbound_ports: vec!["3306-3310".parse().unwrap()],
            skip_inbound_subnets: vec!["10.32.0.0/12".parse().unwrap()],
            skip_outbound_subnets: ["192.0.2.7", "fd00::/33", "::1", "0.0.0.0/0", "::/0"]
                .map(|subnet| subnet.parse().unwrap())
                .to_vec(),
        }
        .ruleset();
        let pod = World::new().unwrap().pod("one").unwrap();
        pod.within(|| interception::apply(&ruleset)).unwrap();
        let listed = pod.within(|| {
            Command::new("nft")
                .args(["--numeric-priority", "list", "ruleset"])
                .output()
        });
        let listed = match listed {
            Ok(output) => String::from_utf8(output.stdout).unwrap(),
            Err(_) => return eprintln!("nft is not installed: nothing to compare with"),
        };
        let printed = ruleset.to_string();
        let (_replacing, printed) = printed.split_once("delete table inet outrigger\n").unwrap();
        assert_eq!(listed, printed);
    });
}
