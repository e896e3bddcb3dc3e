//! Bytes of protocols that the proxy does not know, whoever speaks first.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use crate::harness::{
    MIB, Mesh, Wire, apps,
    mesh::Plan,
    run,
    tools::{command, python},
};

fn psql(mesh: &Mesh, options: &str, sql: &str) -> String {
    let mut psql = command("psql");
    let target = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres {options}",
        mesh.addr.port()
    );
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .arg(target);
    run(&mut psql).success().text()
}

#[test]
fn postgresql_answers_queries() {
    let app = apps::postgres(false);
    let mesh = Mesh::in_front_of(app.addr);
    for ssl in ["sslmode=disable", "sslmode=prefer"] {
        assert_eq!(psql(&mesh, ssl, "select 6 * 7"), "42\n", "{ssl}");
    }
    let rows = psql(
        &mesh,
        "",
        "select md5(i::text) from generate_series(1, 100000) i",
    );
    assert_eq!(rows.lines().count(), 100_000);
}

#[test]
fn postgresql_keeps_its_own_tls() {
    let app = apps::postgres(true);
    let mesh = Mesh::in_front_of(app.addr);
    let trusted = format!(
        "sslmode=verify-ca sslrootcert={}",
        app.file("app.crt").display()
    );
    assert_eq!(
        psql(
            &mesh,
            &trusted,
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        ),
        "t\n"
    );
}

#[test]
fn smtp_greets_first() {
    let app = apps::python_app("smtp_server.py");
    for protocol in ["detect", "tcp"] {
        let mesh = Plan::new(app.addr).protocol(protocol).start();
        // Not a byte was sent: a proxy that waits for the client's first one waits for ever.
        for mut client in [mesh.connect(), Wire::connect(mesh.inbound)] {
            let greeting = client.take_until("\r\n");
            assert!(greeting.starts_with("220 "), "{greeting}");
        }
        run(python("smtp_client.py").arg(mesh.addr.port().to_string())).success();
    }
    assert_eq!(
        app.process.log().matches("received Subject: mesh").count(),
        2,
        "{}",
        app.process.log()
    );
}

#[test]
fn redis_takes_commands_one_by_one_and_in_bulk() {
    let app = apps::redis();
    let mesh = Mesh::in_front_of(app.addr);
    let redis = |args: &[&str]| {
        let mut cli = command("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p"])
            .arg(mesh.addr.port().to_string())
            .args(args);
        run(&mut cli).success().text()
    };
    assert_eq!(redis(&["set", "key", "value"]), "OK\n");
    assert_eq!(redis(&["get", "key"]), "value\n");
    let mut bench = command("redis-benchmark");
    bench.args([
        "-h",
        "127.0.0.1",
        "-n",
        "2000",
        "-c",
        "20",
        "-P",
        "10",
        "-q",
        "-t",
        "set,get,lrange",
        "-p",
    ]);
    let told = run(bench.arg(mesh.addr.port().to_string())).success();
    assert!(told.text().contains("requests per second"), "{told}");
}

/// Redis itself sends nothing until asked, and then whenever there is something to say.
#[test]
fn redis_pushes_to_a_subscriber() {
    let app = apps::redis();
    let mesh = Mesh::in_front_of(app.addr);
    let mut subscriber = mesh.connect();
    subscriber.send("SUBSCRIBE news\r\n");
    subscriber.take_until(":1\r\n");
    let mut publisher = mesh.connect();
    publisher.send("PUBLISH news extra\r\n");
    publisher.take_until(":1\r\n");
    subscriber.take_until("extra\r\n");
}

#[test]
fn the_applications_own_tls_is_untouched() {
    let app = apps::nginx_tls("");
    let mesh = Mesh::in_front_of(app.addr);
    let authority = format!("app.test:{}", mesh.addr.port());
    let mut curl = command("curl");
    curl.args([
        "-sS",
        "--max-time",
        "25",
        "-w",
        "%{http_version}",
        "--cacert",
    ])
    .arg(app.file("app.crt"));
    curl.args([
        "--resolve",
        &format!("{authority}:127.0.0.1"),
        &format!("https://{authority}/"),
    ]);
    assert_eq!(run(&mut curl).success().text(), "over the app's own TLS\n2");
}

/// Each side's end of the stream arrives by itself, and what the other still has to say does too.
#[test]
fn a_half_closed_connection_still_carries_the_other_half() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let app = listener.local_addr().expect("bound");
    let mesh = Plan::new(app).protocol("tcp").start();
    let server = thread::spawn(move || {
        // Whoever says something is the client; a probe that connects and leaves is not.
        loop {
            let (mut stream, _) = listener.accept().expect("the proxy connects");
            let mut asked = String::new();
            stream
                .read_to_string(&mut asked)
                .expect("the client's half ends in order");
            if !asked.is_empty() {
                stream
                    .write_all(format!("you said {asked}").as_bytes())
                    .expect("the other half is open");
                stream
                    .shutdown(Shutdown::Write)
                    .expect("an open half can be closed");
                return;
            }
        }
    });
    let mut client = mesh.connect();
    client.send("something");
    client.finish();
    assert_eq!(
        String::from_utf8_lossy(&client.take_all()),
        "you said something"
    );
    server.join().expect("the server is content");
}

/// Sends back what it hears.
fn echo(listener: TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            let mut back = stream.try_clone()?;
            io::copy(&mut &stream, &mut back)?;
            stream.shutdown(Shutdown::Write)
        });
    }
}

#[test]
fn a_long_stream_passes_both_ways_through_bounded_memory() {
    const LENGTH: u64 = 512 * MIB;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let app = listener.local_addr().expect("bound");
    // Ends with the process: it holds nothing that anyone waits for.
    thread::spawn(move || echo(listener));
    let mesh = Plan::new(app).protocol("tcp").start();
    let rest = mesh.peak_memory();
    let stream = TcpStream::connect(mesh.addr).expect("the proxy listens");
    let heard = thread::scope(|scope| {
        scope.spawn(|| {
            let sent = io::copy(&mut io::repeat(7).take(LENGTH), &mut &stream);
            assert_eq!(sent.expect("the proxy takes it"), LENGTH);
            stream
                .shutdown(Shutdown::Write)
                .expect("an open half can be closed");
        });
        io::copy(&mut &stream, &mut io::sink()).expect("the stream ends in order")
    });
    assert_eq!(heard, LENGTH);
    let grown = mesh.peak_memory() - rest;
    assert!(grown < 16 * MIB, "a proxy grew by {} MiB", grown / MIB);
}
