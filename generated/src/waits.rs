//! The kernel's wait queues (include/linux/wait.h, swait.h), told to the runtime.

/// 4.13 and later.
#[cfg(all(
    kernel_has = "wait_queue_head.head",
    kernel_has = "wait_queue_entry.entry"
))]
impl<'m> crate::wait_queue_head<'m> {
    /// Who waits, in the order in which they are woken.
    pub fn waiters(
        self,
    ) -> impl Iterator<Item = Result<crate::wait_queue_entry<'m>, kstruct::Fault>> + use<'m> {
        self.head().entries(crate::wait_queue_entry::entry)
    }
}

/// Before.
#[cfg(all(
    kernel_has = "__wait_queue_head.task_list",
    kernel_has = "__wait_queue.task_list"
))]
impl<'m> crate::__wait_queue_head<'m> {
    /// Who waits, in the order in which they are woken.
    pub fn waiters(
        self,
    ) -> impl Iterator<Item = Result<crate::__wait_queue<'m>, kstruct::Fault>> + use<'m> {
        self.task_list().entries(crate::__wait_queue::task_list)
    }
}

/// Simple wait queues, 4.6 and later: tasks and nothing else.
#[cfg(all(
    kernel_has = "swait_queue_head.task_list",
    kernel_has = "swait_queue.task_list"
))]
impl<'m> crate::swait_queue_head<'m> {
    /// Who waits.
    pub fn waiters(
        self,
    ) -> impl Iterator<Item = Result<crate::swait_queue<'m>, kstruct::Fault>> + use<'m> {
        self.task_list().entries(crate::swait_queue::task_list)
    }
}
