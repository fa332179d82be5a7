/* cli_why.h: why a gateway of this host did not answer, in its own words. */
#ifndef FG_TOOLS_CLI_WHY_H
#define FG_TOOLS_CLI_WHY_H

#include <stddef.h>

#define FG_CLI_WHY_BYTES 2048

/*
 * A request for `model` at `address` failed (`code`, as of fg_client_infer) with `error`. When the
 * control socket at `socket` belongs to a gateway that listens there, and it knows why (it is not
 * ready, it has no such model to serve): writes that into `text` and returns it. Else returns
 * `error`.
 */
const char *fg_cli_why(const char *socket, const char *address, const char *model, int code,
		       const char *error, char *text, size_t size);

#endif
