#include "userspace/daemon/dataplane_interface.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "userspace/daemon/host.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define MAX_ENTRIES   2048
#define MIN_ENTRIES   32
#define BUSY_ATTEMPTS 20
#define BUSY_PAUSE_US 100000
#define ENDED_NS      500000000ull   /* a gateway's frames are freed a moment after its end */
#define STEADY_NS     10000000000ull /* lost after so long: attached again at once ... */
#define PAUSE_NS      1000000000ull  /* ... earlier, or not possible: after this, doubling ... */
#define PAUSE_MAX_NS  64000000000ull /* ... up to this */

/* ---- frames ----------------------------------------------------------------------------- */

static uint32_t usable_queues(const struct fg_dataplane *dataplane)
{
	uint32_t queues = dataplane->interface.queues;

	return queues < FG_MAX_QUEUES ? queues : FG_MAX_QUEUES;
}

/* The kernel frees the frames of a gateway that was killed a moment after its processes are gone:
 * at the start that is waited for, later it is tried again by and by. */
static int open_queue_frames(struct fg_dataplane *dataplane, enum fg_mode mode,
			     struct fg_error *error)
{
	int attempts = dataplane->by_xdp ? 1 : BUSY_ATTEMPTS;
	uint32_t queue = dataplane->queues;
	int code;

	for (;;) {
		code = fg_umem_open(&dataplane->umems[queue], dataplane->ifindex, queue,
				    dataplane->config->frames, mode == FG_MODE_GENERIC, error);
		if (code != -EBUSY || !--attempts)
			return code;
		usleep(BUSY_PAUSE_US);
	}
}

/* Opens what is missing. */
static int open_frames(struct fg_dataplane *dataplane, enum fg_mode mode, struct fg_error *error)
{
	int code = 0;

	if (dataplane->queues < usable_queues(dataplane))
		dataplane->attachment++;
	dataplane->ifindex = dataplane->interface.index;
	while (!code && dataplane->queues < usable_queues(dataplane)) {
		code = open_queue_frames(dataplane, mode, error);
		dataplane->queues += !code;
	}
	return code;
}

/* A worker keeps what it inherited, so its sockets do not leave the map by themselves. */
static void close_xsks(struct fg_dataplane *dataplane, uint16_t slot)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];

	while (sockets->queues > 0) {
		struct fg_xsk *xsk = &sockets->xsks[--sockets->queues];

		fg_steering_clear_xsk(dataplane->steering, slot, sockets->queues);
		fg_dataplane_count_xsk(xsk, &dataplane->gone);
		fg_xsk_close(xsk);
	}
}

static void close_frames(struct fg_dataplane *dataplane)
{
	for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		close_xsks(dataplane, slot);
	while (dataplane->queues > 0)
		fg_umem_close(&dataplane->umems[--dataplane->queues]);
	dataplane->ifindex = 0;
}

void fg_dataplane_interface_close(struct fg_dataplane *dataplane)
{
	close_frames(dataplane);
	if (dataplane->watch >= 0)
		close(dataplane->watch);
}

/* ---- attaching -------------------------------------------------------------------------- */

/* A reason that passes: no reason to take a slower mode for good. */
static bool passes(int code)
{
	return code == -EBUSY || code == -ENODEV || code == -ENETDOWN || code == -ENOMEM ||
	       code == -EAGAIN || code == -EINTR;
}

/* The MAC and the addresses that the program judges frames by (bpf/host.h). */
static int tell_host(const struct fg_dataplane *dataplane, enum fg_mode mode)
{
	struct fg_host host;
	int code = fg_host_read(dataplane->interface.name, &host);

	host.generic = mode == FG_MODE_GENERIC;
	return code ? code : fg_steering_set_host(dataplane->steering, &host);
}

static int check_mode(const struct fg_interface *interface, enum fg_mode mode,
		      struct fg_error *error)
{
	if (mode >= fg_interface_fastest(interface))
		return 0;
	return fg_error_set(error, -EOPNOTSUPP, "interface %s %s", interface->name,
			    fg_interface_limit(interface));
}

/* The program first: if there is another one, its name is the best explanation. Until a slot has a
 * socket it lets everything pass. Frames that are still bound, and a link that was taken from
 * another gateway, are used again. */
static int attach(struct fg_dataplane *dataplane, enum fg_mode mode, struct fg_error *error)
{
	const struct fg_interface *interface = &dataplane->interface;
	bool kept, taken;
	int code;

	code = check_mode(interface, mode, error);
	if (code)
		return code;
	if (mode > dataplane->bound_for) /* perhaps the driver's own frames, without a copy */
		close_frames(dataplane);
	kept = dataplane->queues > 0;
	code = tell_host(dataplane, mode);
	if (code)
		return fg_error_set(error, code, "interface %s: no Ethernet address: %s",
				    interface->name, strerror(-code));
	taken = dataplane->taken == mode &&
		fg_steering_attached_to(dataplane->steering) == interface->index;
	if (!taken) {
		fg_steering_detach(dataplane->steering);
		code = fg_steering_attach(dataplane->steering, interface->index,
					  mode == FG_MODE_NATIVE, error);
	}
	if (!code)
		code = open_frames(dataplane, mode, error);
	if (code) {
		if (!taken || !passes(code))
			fg_steering_detach(dataplane->steering);
		if (!kept)
			close_frames(dataplane);
		return code;
	}
	dataplane->taken = FG_MODE_NONE;
	dataplane->mode = dataplane->bound_for = mode;
	dataplane->attached_ns = fg_clock_ns();
	return 0;
}

static void add_reason(struct fg_dataplane *dataplane, enum fg_mode mode, const char *text)
{
	size_t used = strlen(dataplane->mode_reason);

	snprintf(dataplane->mode_reason + used, sizeof(dataplane->mode_reason) - used, "%s%s: %s",
		 used ? "; " : "", fg_mode_name(mode), text);
}

/* The configured mode, or the faster of the two with XDP; mode_reason says why not the fastest. */
static int choose_mode(struct fg_dataplane *dataplane, struct fg_error *error)
{
	enum fg_mode forced = dataplane->config->mode;
	enum fg_mode mode = forced ? forced : FG_MODE_NATIVE;
	int code;

	dataplane->mode_reason[0] = '\0';
	for (;; mode++) {
		code = attach(dataplane, mode, error);
		if (!code || forced || mode == FG_MODE_GENERIC ||
		    (dataplane->by_xdp && passes(code)))
			break;
		add_reason(dataplane, mode, error->text);
	}
	if (code && !forced)
		add_reason(dataplane, mode, error->text);
	return code;
}

/* ---- the interface ---------------------------------------------------------------------- */

static void tell_facts(const struct fg_dataplane *dataplane)
{
	const struct fg_interface *interface = &dataplane->interface;
	const uint8_t *mac = interface->mac;

	if (interface->index)
		fg_log(FG_LOG_INFO,
		       "interface name=%s index=%d up=%u mtu=%u queues=%u "
		       "mac=%02x:%02x:%02x:%02x:%02x:%02x",
		       interface->name, interface->index, interface->up, interface->mtu,
		       interface->queues, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	else
		fg_log(FG_LOG_WARN, "interface name=%s reason=\"there is none\"",
		       dataplane->config->interface);
}

/*
 * Whatever bears the configured name, else what is attached, under whatever name. True: it is not
 * as it was. Before anything is attached by what it says; whoever must know of a new MTU or MAC
 * address is told here.
 */
static bool read_interface(struct fg_dataplane *dataplane)
{
	struct fg_interface now;
	int code = fg_interface_read(&now, dataplane->config->interface, 0);

	if (!code && !now.index && dataplane->ifindex)
		code = fg_interface_read(&now, NULL, dataplane->ifindex);
	if (code || !memcmp(&now, &dataplane->interface, sizeof(now)))
		return false;
	dataplane->interface = now;
	tell_facts(dataplane);
	return true;
}

static int check_interface(const struct fg_dataplane *dataplane, struct fg_error *error)
{
	const struct fg_interface *interface = &dataplane->interface;
	const char *name = dataplane->config->interface;

	if (!interface->index)
		return fg_error_set(error, -ENODEV,
				    "interface %s: no such interface (see: ip link)", name);
	if (!interface->up)
		return fg_error_set(error, -ENETDOWN,
				    "interface %s is down: bring it up (ip link set %s up)", name,
				    name);
	if (interface->queues > FG_MAX_QUEUES)
		return fg_error_set(error, -E2BIG,
				    "interface %s has %u queues, at most %d can be used: "
				    "ethtool -L %s combined %d",
				    name, interface->queues, FG_MAX_QUEUES, name, FG_MAX_QUEUES);
	return 0;
}

/* Whether an attachment succeeds shows when the other gateway has ended; what can be known before
 * is. */
static int start_beside(struct fg_dataplane *dataplane, struct fg_error *error)
{
	enum fg_mode forced = dataplane->config->mode;

	snprintf(dataplane->mode_reason, sizeof(dataplane->mode_reason),
		 "interface %s: the gateway that this one replaces has it still",
		 dataplane->interface.name);
	dataplane->by_xdp = forced || fg_interface_fastest(&dataplane->interface) < FG_MODE_SOCKETS;
	return forced ? check_mode(&dataplane->interface, forced, error) : 0;
}

static int start(struct fg_dataplane *dataplane, struct fg_error *error)
{
	enum fg_mode forced = dataplane->config->mode;
	int code;

	dataplane->watch = fg_interface_watch(); /* first: no change is missed */
	if (dataplane->watch < 0)
		return fg_error_set(error, dataplane->watch, "watching interfaces: %s",
				    strerror(-dataplane->watch));
	read_interface(dataplane);
	code = check_interface(dataplane, error);
	if (code || forced == FG_MODE_SOCKETS)
		return code;
	fg_dataplane_announce(dataplane);
	if (dataplane->beside)
		return start_beside(dataplane, error);
	code = choose_mode(dataplane, error);
	dataplane->by_xdp = !code;
	return forced ? code : 0;
}

int fg_dataplane_interface_open(struct fg_dataplane *dataplane, struct fg_error *error)
{
	dataplane->mode = FG_MODE_SOCKETS;
	if (dataplane->config->interface[0])
		return start(dataplane, error);
	snprintf(dataplane->mode_reason, sizeof(dataplane->mode_reason), "no interface was named");
	return 0;
}

/* ---- losing it, and having it back ------------------------------------------------------ */

static bool attached(const struct fg_dataplane *dataplane)
{
	return dataplane->mode != FG_MODE_SOCKETS;
}

/* What the frames were bound to is not there any more, or is not the interface. */
static bool is_stale(const struct fg_dataplane *dataplane)
{
	return dataplane->queues > 0 && (dataplane->interface.index != dataplane->ifindex ||
					 !fg_umem_is_bound(&dataplane->umems[0]));
}

/* NULL: all is well. */
static const char *trouble(const struct fg_dataplane *dataplane)
{
	if (!dataplane->interface.index)
		return "is gone";
	if (dataplane->interface.index != dataplane->ifindex)
		return "is another one now";
	if (is_stale(dataplane))
		return "was away";
	return fg_steering_attached_to(dataplane->steering) ? NULL : "lost its XDP program";
}

static void say_lost(struct fg_dataplane *dataplane, const char *why)
{
	snprintf(dataplane->mode_reason, sizeof(dataplane->mode_reason),
		 "interface %s %.160s: attached again when it can be", dataplane->config->interface,
		 why);
}

/* The next attempt: each one later than the last, because it may reset a network card. */
static void put_off(struct fg_dataplane *dataplane)
{
	uint64_t pause_ns = dataplane->pause_ns * 2;

	if (pause_ns < PAUSE_NS)
		pause_ns = PAUSE_NS;
	dataplane->pause_ns = pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
	dataplane->retry_ns = fg_clock_ns() + dataplane->pause_ns;
}

static void lose(struct fg_dataplane *dataplane, const char *why)
{
	fg_log(FG_LOG_WARN, "mode.lost mode=%s interface=%s reason=\"%s\" next=\"mode sockets\"",
	       fg_mode_name(dataplane->mode), dataplane->config->interface, why);
	fg_steering_detach(dataplane->steering);
	dataplane->mode = FG_MODE_SOCKETS;
	dataplane->lost++;
	say_lost(dataplane, why);
	if (fg_clock_ns() - dataplane->attached_ns < STEADY_NS)
		put_off(dataplane);
	else
		dataplane->pause_ns = dataplane->retry_ns = 0;
}

static void regain(struct fg_dataplane *dataplane)
{
	struct fg_error error = {""};

	if (!dataplane->interface.up) {
		say_lost(dataplane, dataplane->interface.index ? "is down" : "is gone");
		return;
	}
	if (choose_mode(dataplane, &error)) {
		fg_log(FG_LOG_WARN, "mode.regain interface=%s reason=\"%s\" next=\"tries again\"",
		       dataplane->interface.name, error.text);
		say_lost(dataplane, error.text);
		put_off(dataplane);
		return;
	}
	fg_log(FG_LOG_INFO, "mode.regained mode=%s interface=%s queues=%u",
	       fg_mode_name(dataplane->mode), dataplane->interface.name, dataplane->queues);
}

static void add_queues(struct fg_dataplane *dataplane)
{
	enum fg_mode mode = dataplane->mode;
	struct fg_error error = {""};
	int code;

	if (dataplane->interface.veth) {
		fg_steering_detach(dataplane->steering);
		code = attach(dataplane, mode, &error);
	} else {
		code = open_frames(dataplane, mode, &error);
	}
	if (code)
		lose(dataplane, error.text);
}

void fg_dataplane_look(struct fg_dataplane *dataplane)
{
	bool told, changed;
	const char *why;

	if (dataplane->watch < 0)
		return;
	told = fg_interface_changed(dataplane->watch);
	changed = read_interface(dataplane);
	if (told || changed) {
		fg_dataplane_announce(dataplane);
		if (attached(dataplane))
			tell_host(dataplane, dataplane->mode);
	}
	why = attached(dataplane) ? trouble(dataplane) : NULL;
	if (why)
		lose(dataplane, why);
	if (is_stale(dataplane))
		close_frames(dataplane);
	if (attached(dataplane) && dataplane->queues < usable_queues(dataplane))
		add_queues(dataplane);
	if (!attached(dataplane) && dataplane->by_xdp && !dataplane->beside &&
	    (changed || fg_clock_ns() >= dataplane->retry_ns))
		regain(dataplane);
}

/* ---- from another gateway, and to one ---------------------------------------------------- */

void fg_dataplane_interface_take(struct fg_dataplane *dataplane, int link)
{
	enum fg_mode mode;
	bool native;

	if (link < 0)
		return;
	if (!dataplane->by_xdp || fg_steering_take(dataplane->steering, link, &native)) {
		close(link);
		return;
	}
	mode = native ? FG_MODE_NATIVE : FG_MODE_GENERIC;
	dataplane->taken = mode;
	tell_host(dataplane, mode);
}

void fg_dataplane_inherit(struct fg_dataplane *dataplane)
{
	dataplane->beside = false;
	dataplane->pause_ns = 0;
	dataplane->retry_ns = fg_clock_ns() + ENDED_NS;
}

void fg_dataplane_withdraw(struct fg_dataplane *dataplane)
{
	fg_steering_detach(dataplane->steering);
	dataplane->by_xdp = false;
	dataplane->mode = FG_MODE_SOCKETS;
}

/* ---- slots ------------------------------------------------------------------------------ */

/* The workers of two generations with full rings still leave half of the frames to the driver and
 * to those that are not stalled. */
static uint32_t ring_entries(const struct fg_config *config)
{
	uint32_t entries = MAX_ENTRIES;

	while (entries > MIN_ENTRIES && entries * 4 * config->worker_count > config->frames)
		entries /= 2;
	return entries;
}

static int open_queue(struct fg_dataplane *dataplane, uint16_t slot, uint32_t queue,
		      struct fg_error *error)
{
	struct fg_xsk *xsk = &dataplane->slots[slot].xsks[queue];
	int code = fg_xsk_open(xsk, &dataplane->umems[queue], dataplane->ifindex, queue, slot,
			       ring_entries(dataplane->config), error);

	if (code)
		return code;
	dataplane->slots[slot].queues++;
	code = fg_steering_set_xsk(dataplane->steering, slot, queue, xsk->fd);
	if (code)
		fg_error_set(error, code, "steering to slot %u: %s", slot, strerror(-code));
	return code;
}

void fg_dataplane_interface_open_slot(struct fg_dataplane *dataplane, uint16_t slot)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];
	struct fg_error error = {""};
	int code = 0;

	while (!code && sockets->queues < dataplane->queues)
		code = open_queue(dataplane, slot, sockets->queues, &error);
	if (!code)
		return;
	if (attached(dataplane))
		lose(dataplane, error.text);
	if (is_stale(dataplane))
		close_frames(dataplane);
}
