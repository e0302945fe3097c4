//! Standard error and standard output that nobody takes: the server goes on, and tells later what it dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write, pipe};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Server, Setup, skip, soon, until};

#[tokio::test]
async fn a_server_whose_standard_error_nobody_reads_goes_on_and_tells_what_it_dropped() {
    let (reader, writer) = pipe().unwrap();
    let mut server = Setup::scripted().words(&["w:2"]).errors_to(writer).start().await;
    fill_the_log(&server).await;

    goes_on(&server).await;

    let lost = dropped(&server).await;
    let page = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&page);
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            written.lock().unwrap().push(line.unwrap());
        }
    });
    let told = || page.lock().unwrap().iter().filter_map(|line| records_dropped(line)).sum::<u64>();
    until("what was dropped is told", || async { told() >= lost }).await;
    server.get("/say?line=written-as-ever").await;
    let has = |text: &str| page.lock().unwrap().iter().any(|line| line.contains(text));
    until("what comes later is written", || async { has("written-as-ever") }).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    reading.join().unwrap();
    assert!(has("stopped"));
}

/// The number of dropped records that a record tells of.
fn records_dropped(line: &str) -> Option<u64> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    record["message"].as_str()?.starts_with("log records were dropped").then(|| record["records"].as_u64())?
}

#[tokio::test]
async fn a_server_whose_standard_error_nobody_reads_can_be_stopped() {
    let (_reader, writer) = pipe().unwrap();
    let mut server = Setup::scripted().errors_to(writer).start().await;
    fill_the_log(&server).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_stopped_terminal_stops_no_server() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut keyboard = File::from(master);
    // Ctrl-S: from here on whoever writes waits.
    keyboard.write_all(b"\x13").unwrap();
    let records = terminal.try_clone().unwrap();
    let mut server =
        Setup::scripted().lines().words(&["w:2"]).records_to(records).errors_to(terminal).start().await;
    goes_on(&server).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_journald_that_stands_still_stops_no_server() {
    let within = ["unshare", "--mount", "python3", "-c", STANDING_JOURNALD];
    if !std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .output()
        .is_ok_and(|ran| ran.status.success())
    {
        return skip("no mount namespace can be made here");
    }
    let mut server = Setup::scripted().lines().words(&["w:2"]).within(&within).start().await;
    fill_the_log(&server).await;
    goes_on(&server).await;
    assert!(!server.output().contains("starting"), "records go to the journal: {}", server.output());
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

/// Starts what its arguments say where journald's socket is one that nobody reads, and standard error looks like the
/// journal's.
const STANDING_JOURNALD: &str = "import os, socket, subprocess, sys
subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'], check=True)
os.makedirs('/run/systemd/journal')
journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journald.bind('/run/systemd/journal/socket')
journald.set_inheritable(True)
stream = os.fstat(2)
os.environ['JOURNAL_STREAM'] = f'{stream.st_dev}:{stream.st_ino}'
os.execv(sys.argv[1], sys.argv[1:])";

#[tokio::test]
async fn a_server_starts_though_nobody_takes_its_banner() {
    let (_reader, writer) = full_pipe();
    let mut server = Setup::scripted().lines().errors_to(writer).start().await;
    assert_eq!(server.get("/").await.status, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_cannot_start_ends_though_nobody_reads_why() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_reader, writer) = full_pipe();
    let mut server = tokio::process::Command::new(env!("CARGO_BIN_EXE_rip-server"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello"))
        .arg(format!("http:{}", taken.local_addr().unwrap().port()))
        .arg("--bind=127.0.0.1")
        .arg(format!("--runtime-dir={}", home.path().join("run").display()))
        .arg(format!("--state-dir={}", home.path().join("state").display()))
        .stdin(Stdio::null())
        .stderr(writer)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    assert_eq!(soon("it ends", server.wait()).await.unwrap().code(), Some(1));
}

/// Control socket, requests, and a new worker in the place of one that was killed.
async fn goes_on(server: &Server) {
    assert_eq!(server.get("/").await.status, 200);
    let before = server.worker_pids().await;
    kill_process(Pid::from_raw(before[0] as i32).unwrap(), Signal::KILL).unwrap();
    until("a killed worker is replaced", || async {
        let now = server.worker_pids().await;
        !now.contains(&before[0])
    })
    .await;
    server.await_ready().await;
    for _ in 0..20 {
        assert_eq!(server.get("/").await.status, 200);
    }
}

/// Lets a worker write until records are dropped.
async fn fill_the_log(server: &Server) {
    let path = format!("/say?line={}", "a".repeat(7000));
    let mut client = server.connect().await;
    for _ in 0..40 {
        for _ in 0..100 {
            assert!(soon("an answer", client.get(&path)).await.status < 400);
        }
        if dropped(server).await > 0 {
            return;
        }
    }
    panic!("all of it is kept");
}

/// Log records that were dropped so far.
async fn dropped(server: &Server) -> u64 {
    let page = soon("the control socket", server.control("GET", "/metrics", "")).await.unwrap();
    let line = page.text().lines().find_map(|line| line.strip_prefix("rip_log_records_dropped_total "));
    line.unwrap().parse().unwrap()
}

/// A pipe that nobody reads and that takes no more.
fn full_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, mut writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer.into())
}
