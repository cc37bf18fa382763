//! Is the server that a data folder's `postmaster.pid` names alive, and is it this folder's?
//!
//! Postgres itself only asks whether some process of the same user has that id, and then refuses
//! to start: a dead postmaster that its parent has not reaped yet, or an unrelated program that got
//! the id after a reboot, would lock the owner out. Here the process is looked at.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

/// What a `postmaster.pid` turned out to mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// No pid file, or none that can be read.
    Nobody,
    /// This process is not the folder's server: dead, a zombie, or somebody unrelated.
    Stale(i32),
    /// The folder's server, alive.
    Alive(i32),
}

/// Looks at the pid file of `data` and at the process that it names.
pub fn occupant(data: &Path) -> Occupant {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { return Occupant::Nobody };
    let Some(pid) =
        text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 1)
    else {
        return Occupant::Nobody;
    };
    if is_server_of(pid, data) { Occupant::Alive(pid) } else { Occupant::Stale(pid) }
}

/// Whether the live process `pid` is the server of `data`: a postmaster's working directory is its
/// data folder.
#[cfg(target_os = "linux")]
pub fn is_server_of(pid: i32, data: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return false };
    // The state follows the program's name in parentheses, which may itself contain some.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    if !state.is_some_and(|state| !matches!(state, 'Z' | 'X' | 'x')) {
        return false;
    }
    let named = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    std::fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == named)
}

/// As on Linux, but by the command line, which for our own servers names the data folder.
#[cfg(not(target_os = "linux"))]
pub fn is_server_of(pid: i32, data: &Path) -> bool {
    let named = data.canonicalize().unwrap_or_else(|_| PathBuf::from(data));
    let asked =
        std::process::Command::new("ps").args(["-o", "stat=,command=", "-p", &pid.to_string()]).output();
    asked.is_ok_and(|output| {
        let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        !line.is_empty() && !line.starts_with('Z') && line.contains(&*named.to_string_lossy())
    })
}

/// How a server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Disconnects everybody, writes a checkpoint, ends cleanly.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// Sends the request; `false` if there is no such process.
pub fn ask_to_end(pid: i32, ending: Ending) -> bool {
    let signal = match ending {
        Ending::Fast => Signal::INT,
        Ending::Immediate => Signal::QUIT,
    };
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with_pid(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("postmaster.pid"), text).expect("written");
        folder
    }

    #[test]
    fn unreadable_pid_files_name_nobody() {
        for text in ["", "no number\n", "-4\n", "0\n", "1\n", "99999999999999999999\n"] {
            assert_eq!(occupant(folder_with_pid(text).path()), Occupant::Nobody, "{text:?}");
        }
    }

    #[test]
    fn an_unrelated_live_process_and_a_zombie_are_stale() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(occupant(folder_with_pid(&format!("{own}\n/data\n")).path()), Occupant::Stale(own));
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let pid = i32::try_from(child.id()).expect("a pid");
        assert_eq!(occupant(folder_with_pid(&format!("{pid}\n")).path()), Occupant::Stale(pid));
        child.wait().expect("reaped");
    }

    #[test]
    fn a_live_process_in_the_folder_is_its_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new("cat")
            .current_dir(folder.path())
            .arg(folder.path())
            .arg("-")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a child");
        let pid = i32::try_from(child.id()).expect("a pid");
        std::fs::write(folder.path().join("postmaster.pid"), format!("{pid}\n")).expect("written");
        assert_eq!(occupant(folder.path()), Occupant::Alive(pid));
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
