#include <errno.h>
#include <stdio.h>
#include "userspace/daemon/control.h"
#include "userspace/daemon/orders.h"

/* The other gateway serves on meanwhile, and obeys operators: NAME.served says what became of it.
 * Before this one serves anybody that is the other one's word. */
static bool follow(struct fg_control *control)
{
	const struct fg_rollout_served before = control->served.list;

	fg_served_read(&control->served);
	control->next = *fg_rollout_current(&control->state->rollout);
	if (!fg_rollout_follow(&control->next, &before, &control->served.list))
		return false;
	fg_control_publish(control);
	control->spoken = true;
	return true;
}

void fg_control_succeed(struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	struct fg_orders_message message = {.verb = FG_ORDERS_TAKE};
	int32_t other = atomic_load(&control->state->boot.beside);
	int code;

	if (!other) {
		if (control->judged)
			fg_control_tell_replaced(control);
		control->judged = false;
		return;
	}
	if (control->judged || follow(control))
		return;
	code = fg_rollout_succeeds(rollout, &control->repository.store,
				   fg_control_rules(control, rollout), &control->served.list,
				   message.path, sizeof(message.path));
	if (code == -EAGAIN)
		return;
	/* Older programs did not say whose word it is. */
	if (!code &&
	    (control->served.code || (control->served.keeper && control->served.keeper != other))) {
		code = -ESTALE;
		snprintf(message.path, sizeof(message.path),
			 "%s is not its word on what serves: --name and --state-dir must be its "
			 "own, and it must be able to write there",
			 control->served.path);
	}
	if (code)
		message.verb = FG_ORDERS_GIVE_UP;
	control->judged = !fg_orders_send(control->orders, &message, -1);
}
