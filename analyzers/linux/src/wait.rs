//! Who waits on a wait queue (kernel/sched/wait.c, fs/select.c, fs/eventpoll.c). The queues themselves are walked by `waiters()` of
//! `wait_queue_head`; here is what an entry stands for.

#[cfg(kernel_has = "wait_queue_entry")]
type Entry<'m> = kernel::wait_queue_entry<'m>;
/// Before 4.13.
#[cfg(all(not(kernel_has = "wait_queue_entry"), kernel_has = "__wait_queue"))]
type Entry<'m> = kernel::__wait_queue<'m>;

#[cfg(any(kernel_has = "wait_queue_entry", kernel_has = "__wait_queue"))]
pub use entries::{Waiter, of};

#[cfg(any(kernel_has = "wait_queue_entry", kernel_has = "__wait_queue"))]
mod entries {
    use kernel::task_struct;
    #[cfg(kernel_has = "eppoll_entry.wait")]
    use kstruct::View as _;
    use kstruct::{Fault, FnPtr, Ptr};

    use super::Entry;

    /// Functions that wake the task that `private` points to: it sleeps in the kernel until the event comes.
    const WAKE_A_TASK: [&str; 9] = [
        "autoremove_wake_function",
        "child_wait_callback",
        "default_wake_function",
        "ep_autoremove_wake_function",
        "receiver_wake_function",
        "userfaultfd_wake_function",
        "wake_bit_function",
        "wake_page_function",
        "woken_wake_function",
    ];

    /// Who is told of an event.
    #[derive(Clone, Copy)]
    pub enum Waiter<'m> {
        /// A task that sleeps until it comes.
        Task(task_struct<'m>),
        /// A task in select or poll, which sleeps on several queues.
        #[cfg(kernel_has = "poll_wqueues.polling_task")]
        Poll(task_struct<'m>),
        /// An epoll instance.
        #[cfg(kernel_has = "eppoll_entry.wait")]
        Epoll(kernel::eppoll_entry<'m>),
        /// A function of the kernel that is called: of an eventfd that KVM listens to, or of io_uring.
        Other(FnPtr<'m>),
    }

    impl<'m> Waiter<'m> {
        /// The task that sleeps, if one does.
        pub fn task(self) -> Option<task_struct<'m>> {
            match self {
                Waiter::Task(task) => Some(task),
                #[cfg(kernel_has = "poll_wqueues.polling_task")]
                Waiter::Poll(task) => Some(task),
                _ => None,
            }
        }
    }

    /// What an entry of a wait queue stands for, by the function that it names.
    pub fn of(entry: Entry<'_>) -> Result<Waiter<'_>, Fault> {
        let function = entry.func();
        match function.name() {
            Some(name) if WAKE_A_TASK.contains(&name) => task(entry).deref().map(Waiter::Task),
            #[cfg(kernel_has = "poll_wqueues.polling_task")]
            Some("pollwake") => {
                let queues: Ptr<'_, kernel::poll_wqueues<'_>> = entry.private().cast();
                let task = queues.deref()?.polling_task().deref()?;
                Ok(Waiter::Poll(task))
            }
            #[cfg(kernel_has = "eppoll_entry.wait")]
            Some("ep_poll_callback") => entry
                .container_of(kernel::eppoll_entry::wait)
                .map(Waiter::Epoll),
            _ => Ok(Waiter::Other(function)),
        }
    }

    #[cfg(not(kernel_has = "__wait_queue.task"))]
    fn task(entry: Entry<'_>) -> Ptr<'_, task_struct<'_>> {
        entry.private().cast()
    }

    /// Before 2.6.15.
    #[cfg(kernel_has = "__wait_queue.task")]
    fn task(entry: Entry<'_>) -> Ptr<'_, task_struct<'_>> {
        entry.task()
    }
}
