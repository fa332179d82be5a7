#include <errno.h>
#include <stdio.h>
#include "userspace/daemon/control.h"
#include "userspace/daemon/orders.h"

/* Before this process serves anybody, NAME.served is the other gateway's word. */
void fg_control_succeed(struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	struct fg_orders_message message = {.verb = FG_ORDERS_TAKE};
	int code;

	if (!atomic_load(&control->state->boot.beside)) {
		if (control->judged)
			fg_control_tell_replaced(control);
		control->judged = false;
		return;
	}
	if (control->judged)
		return;
	code = fg_rollout_succeeds(rollout, &control->repository.store,
				   fg_control_rules(control, rollout), &control->served.list,
				   message.path, sizeof(message.path));
	if (code == -EAGAIN)
		return;
	if (code)
		message.verb = FG_ORDERS_GIVE_UP;
	control->judged = !fg_orders_send(control->orders, &message, -1);
}
