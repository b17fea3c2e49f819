//! A network of a test's own: two ends and a router between them, each a network namespace of Linux.
//!
//! A namespace lives as long as a process is in it. Here that is a `cat` whose stdin the test holds: when the test ends,
//! however it does, the namespaces go, and with them all that is in them. They have no names, so there is nothing to clash.
//!
//! The cable that can be cut is the router's will to pass on: neither end's own device tells it anything.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Node;

/// Two ends and what is between them.
pub struct Net {
    router: Space,
    ends: [Space; 2],
}

/// Has the router pass on.
const MEND: &str = "echo 1 >/proc/sys/net/ipv4/ip_forward";

/// A namespace.
struct Space(Child);

impl Net {
    /// Lays the cables. Where that is not allowed, says why.
    pub fn new() -> Result<Self, String> {
        let router = Space::new(None)?;
        let ends = [Space::new(Some(&router))?, Space::new(Some(&router))?];
        for (n, end) in ends.iter().enumerate() {
            let (cable, subnet) = (format!("end{n}"), format!("10.7.{n}"));
            router.run(&format!("ip link add {cable} type veth peer name eth netns {}", end.0.id()))?;
            router.run(&format!("ip addr add {subnet}.1/24 dev {cable} && ip link set {cable} up"))?;
            end.run(&format!("ip addr add {subnet}.2/24 dev eth && ip link set eth up && ip link set lo up"))?;
            end.run(&format!("ip route add default via {subnet}.1"))?;
        }
        router.run(MEND)?;
        Ok(Self { router, ends })
    }

    /// The address of an end.
    pub fn host(end: usize) -> String {
        format!("10.7.{end}.2")
    }

    /// Cuts the cable between the ends: nothing gets through, and nobody is told.
    #[track_caller]
    pub fn cut(&self) {
        self.router.run("echo 0 >/proc/sys/net/ipv4/ip_forward").expect("the router stops");
    }

    /// Mends it.
    #[track_caller]
    pub fn mend(&self) {
        self.router.run(MEND).expect("the router goes on");
    }

    /// Makes a whole /16 an end's own: `10.N.0.0`, and the way there known to the other end.
    #[track_caller]
    pub fn add_addresses(&self, end: usize, n: u8) {
        self.ends[end].run(&format!("ip route add local 10.{n}.0.0/16 dev lo")).expect("many addresses");
        self.router.run(&format!("ip route add 10.{n}.0.0/16 via 10.7.{end}.2")).expect("the way to them");
    }

    /// Starts a node at an end, whose events may take twice as long as others' to come.
    #[track_caller]
    pub fn node(&self, end: usize, name: &str, args: &[&str]) -> Node {
        self.node_without_host(end, name, &[&["--host", &Self::host(end)], args].concat())
    }

    /// The same, of one that is not told where to listen.
    #[track_caller]
    pub fn node_without_host(&self, end: usize, name: &str, args: &[&str]) -> Node {
        let script = format!("exec {} \"$@\"", self.ends[end].enter());
        Node::shell(&script, &[&["--username", name], args].concat()).patiently()
    }

    /// Whether a thread of this process can go to an end: only root's can.
    pub fn may_enter() -> bool {
        geteuid().is_root()
    }

    /// Does something at an end, on a thread of its own. What is opened there stays there.
    #[track_caller]
    pub fn at<T: Send>(&self, end: usize, act: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/proc/{}/ns/net", self.ends[end].0.id())).expect("the end is there");
        let on_it = || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            act()
        };
        thread::scope(|scope| scope.spawn(on_it).join().expect("it did not fail"))
    }
}

impl Space {
    /// A new one; who is not root makes a user namespace first, and others within that of the first.
    fn new(within: Option<&Self>) -> Result<Self, String> {
        let unshare = match within {
            _ if geteuid().is_root() => "unshare --net".to_owned(),
            None => "unshare --user --map-root-user --net".to_owned(),
            Some(first) => format!("{} unshare --net", first.enter()),
        };
        let hold = format!("exec {unshare} sh -c 'echo made; exec cat'");
        let mut command = Command::new("sh");
        command.args(["-c", &hold]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut said).map_err(|e| e.to_string())?;
        if said == "made\n" {
            return Ok(Self(child));
        }
        let why = child.wait_with_output().map_err(|e| e.to_string())?;
        Err(String::from_utf8_lossy(&why.stderr).trim().to_owned())
    }

    /// What goes before a command that is to run in it.
    fn enter(&self) -> String {
        let user = if geteuid().is_root() { "" } else { "--user --preserve-credentials " };
        format!("nsenter --target {} {user}--net", self.0.id())
    }

    /// Runs a line of shell in it.
    fn run(&self, line: &str) -> Result<(), String> {
        let script = format!("{} sh -c '{line}'", self.enter());
        let output = Command::new("sh").args(["-c", &script]).output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
