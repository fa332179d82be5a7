#include "tools/client_stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "tools/client_wait.h"

int fg_client_stream_open(struct fg_client_stream *stream, const struct fg_client_address *address,
			  uint64_t until_ns)
{
	int code = fg_client_connect(address);

	if (code < 0)
		return code;
	stream->fd = code;
	stream->here = stream->used = 0;
	code = fg_client_await_connection(stream->fd, address, until_ns);
	if (code)
		fg_client_stream_close(stream);
	return code;
}

void fg_client_stream_close(struct fg_client_stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

int fg_client_stream_send(struct fg_client_stream *stream, const void *message, uint32_t length,
			  uint64_t until_ns)
{
	unsigned char prefix[FG_STREAM_PREFIX_BYTES];
	struct iovec parts[2] = {{prefix, sizeof(prefix)}, {(void *)message, length}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};

	fg_stream_prefix(prefix, length);
	while (parts[1].iov_len) {
		ssize_t sent = sendmsg(stream->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
		int code;

		if (sent < 0 && errno == EPIPE)
			return -ECONNRESET;
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		for (int part = 0; part < 2 && sent > 0; part++) {
			size_t taken = parts[part].iov_len;

			if (taken > (size_t)sent)
				taken = (size_t)sent;
			parts[part].iov_base = (char *)parts[part].iov_base + taken;
			parts[part].iov_len -= taken;
			sent -= (ssize_t)taken;
		}
		if (sent < 0) {
			code = fg_client_wait(stream->fd, POLLOUT, until_ns, false);
			if (code)
				return code;
		}
	}
	return 0;
}

/* Reads what has come: 0, -EAGAIN when nothing has, or what ended the connection. */
static int read_more(struct fg_client_stream *stream)
{
	ssize_t got;

	if (stream->used) {
		stream->here -= stream->used;
		memmove(stream->bytes, stream->bytes + stream->used, stream->here);
		stream->used = 0;
	}
	got = recv(stream->fd, stream->bytes + stream->here, sizeof(stream->bytes) - stream->here,
		   MSG_DONTWAIT);
	if (got > 0) {
		stream->here += (size_t)got;
		return 0;
	}
	if (got == 0 || errno == EPIPE)
		return -ECONNRESET;
	return errno == EINTR ? -EAGAIN : -errno;
}

int fg_client_stream_receive(struct fg_client_stream *stream, uint64_t until_ns, bool spin,
			     const unsigned char **message, uint32_t *length)
{
	for (;;) {
		int code = fg_stream_next(stream->bytes + stream->used, stream->here - stream->used,
					  length);

		if (code == 0) {
			*message = stream->bytes + stream->used + FG_STREAM_PREFIX_BYTES;
			stream->used += FG_STREAM_PREFIX_BYTES + *length;
			return 0;
		}
		if (code == -EAGAIN)
			code = read_more(stream);
		if (code == -EAGAIN)
			code = fg_client_wait(stream->fd, POLLIN, until_ns, spin);
		if (code)
			return code;
	}
}
