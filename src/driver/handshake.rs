//! Handshakes go on on a thread of their own: a step costs as much as a hundred messages do, and those do not wait for it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::thread;

use async_channel::Sender;

use super::Loop;
use crate::node::{Input, LinkId};
use crate::wire::noise::{Step, Stepped};

/// A step, and where its result goes.
struct Job(Step, Sender<Stepped>);

/// The thread, from the first handshake on. It ends when this is dropped.
#[derive(Default)]
pub struct Handshakes(OnceCell<Option<Sender<Job>>>);

impl Handshakes {
    /// `None` if the system gives us no thread.
    fn thread(&self) -> Option<&Sender<Job>> {
        let start = || {
            let (jobs, next) = async_channel::bounded::<Job>(1);
            let run = move || {
                yield_to_the_loop();
                while let Ok(Job(step, done)) = next.recv_blocking() {
                    // If its link has been closed meanwhile, nobody hears.
                    let _ = done.try_send(step.make());
                }
            };
            thread::Builder::new().name("handshakes".into()).spawn(run).is_ok().then_some(jobs)
        };
        self.0.get_or_init(start).as_ref()
    }
}

/// Where threads have priorities of their own, this one stands back: with few processors it would otherwise take the loop's.
fn yield_to_the_loop() {
    #[cfg(target_os = "linux")]
    {
        /// Of the steps from 0 to 19. With it a thread still has a tenth of the time when another wants all of it. sched(7).
        const NICE: i32 = 10;
        // If it is refused, it is as it was.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

/// Makes a step of a link's handshake. Dropped with the link, it waits for its turn no more.
pub(super) async fn step(this: Rc<Loop>, link: LinkId, step: Step) {
    let stepped = match this.handshakes.thread() {
        Some(jobs) => {
            let (done, stepped) = async_channel::bounded(1);
            // Neither fails while the loop runs: the thread ends with it.
            if jobs.send(Job(step, done)).await.is_err() {
                return;
            }
            let Ok(stepped) = stepped.recv().await else { return };
            stepped
        }
        None => step.make(),
    };
    this.handle(Input::Stepped { link, stepped });
}
