#include "models/plan_interface.h"

#include <string.h>
#include <xxhash.h>

/* One after the other: each hash is the next one's seed. */
static uint64_t add_port(uint64_t hash, const struct fg_plan_port *port)
{
	uint32_t rank = port->rank < FG_PLAN_MAX_RANK - 1 ? port->rank : FG_PLAN_MAX_RANK - 1;
	const uint32_t facts[] = {port->cols, rank, port->integer};

	hash = XXH64(port->name, strnlen(port->name, sizeof(port->name)), hash);
	hash = XXH64(facts, sizeof(facts), hash);
	return XXH64(port->dims, rank * sizeof(port->dims[0]), hash);
}

uint64_t fg_plan_interface(const struct fg_plan_port *ports, uint32_t inputs, uint32_t outputs)
{
	uint64_t hash = inputs;

	for (uint32_t i = 0; i < inputs + outputs; i++)
		hash = add_port(hash, &ports[i]);
	return hash ? hash : 1;
}
