/*
 * tcp_end.h: how the connections of tcp.h end, and when.
 *
 * Any io_uring_enter may complete a receive: then bytes are in a connection's buffer that nobody
 * here knows of until the completion is reaped, once a loop. So no connection is taken to be idle
 * while a completion of it waits in the ring.
 */
#ifndef FG_WORKER_TCP_END_H
#define FG_WORKER_TCP_END_H

#include <stdbool.h>
#include <stdint.h>
#include "userspace/worker/tcp.h"

/* At once; it is buried when it is next looked at. Refused: for what the client did, or did not. */
void fg_tcp_end_kill(struct fg_tcp *tcp, struct fg_tcp_connection *connection);
void fg_tcp_end_refuse(struct fg_tcp *tcp, struct fg_tcp_connection *connection);
/* Nothing more is read from it; the replies that it is owed still go out. */
void fg_tcp_end_stop(struct fg_tcp *tcp, struct fg_tcp_connection *connection);
/* Between two requests, without a reset: ENDING. A half message is forgotten. */
void fg_tcp_end_politely(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns);
/* DEAD: closes it when nothing of it is in the kernel or the engine any more. */
void fg_tcp_end_bury(struct fg_tcp *tcp, struct fg_tcp_connection *connection);

/* OPEN, and no whole message in its buffer: shall it end politely now? */
bool fg_tcp_end_is_due(struct fg_tcp *tcp, const struct fg_tcp_connection *connection,
		       uint64_t now_ns);
/* Every tick: does what time asks for, unless the connection is DEAD. */
void fg_tcp_end_check(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns);
/* Refuses as many as there are too many in use. */
void fg_tcp_end_make_room(struct fg_tcp *tcp);

#endif
