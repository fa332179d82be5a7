#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/models_config_rules.h"

/* ---- which format ---- */

/* What begins after blanks and comments, which look the same in both. */
static const char *skip_comments(const char *at, const char *end)
{
	while (at < end && (*at == '#' || memchr(" \t\r\n\v\f", *at, 6))) {
		if (*at == '#')
			while (at < end && *at != '\n')
				at++;
		else
			at++;
	}
	return at;
}

static bool is_word(const char *word, size_t length, const char *wanted)
{
	return length == strlen(wanted) && !memcmp(word, wanted, length);
}

static bool is_tensorflow(const char *word, const char *end)
{
	const char *after = word;
	size_t length;

	while (after < end && ((*after >= 'a' && *after <= 'z') || *after == '_'))
		after++;
	length = (size_t)(after - word);
	while (after < end && (*after == ' ' || *after == '\t'))
		after++;
	return is_word(word, length, "model_config_list") ||
	       is_word(word, length, "custom_model_config") ||
	       (length && after < end && (*after == '{' || *after == '<'));
}

int fg_models_config_parse(struct fg_rules *rules, const char *name, const char *text, size_t size,
			   struct fg_error *error)
{
	const struct fg_models_at whole = {name, 0, 0};
	const char *word = skip_comments(text, text + size);
	int code;

	/* More often half written than meant. */
	if (word == text + size)
		return fg_models_fail(error, &whole,
				      "the file says nothing: see docs/configuration.md");
	if (is_tensorflow(word, text + size))
		code = fg_models_parse_text(rules, name, text, size, error);
	else
		code = fg_models_parse_yaml(rules, name, text, size, error);
	if (!code && !rules->model_count && !rules->repository[0])
		code = fg_models_fail(error, &whole, "neither models nor a repository");
	return code;
}

/* ---- files ---- */

static int open_file(const char *path, struct fg_error *error)
{
	/* NONBLOCK: a FIFO must not stop us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat info;

	if (fd < 0 || fstat(fd, &info)) {
		int code = -errno;

		if (fd >= 0)
			close(fd);
		return fg_error_set(error, code, "%.200s: %s", path, strerror(-code));
	}
	if (!S_ISREG(info.st_mode)) {
		close(fd);
		return fg_error_set(error, -EINVAL, "%.200s: not a regular file", path);
	}
	return fd;
}

int fg_models_config_load(struct fg_rules *rules, const char *path, struct fg_error *error)
{
	const size_t room = FG_MODELS_CONFIG_MAX_BYTES + 1;
	char *text = malloc(room);
	size_t used = 0;
	ssize_t count;
	int fd, code = 0;

	if (!text)
		return fg_error_set(error, -ENOMEM, "%.200s: no memory", path);
	fd = open_file(path, error);
	if (fd < 0) {
		code = fd;
		goto free_text;
	}
	while (used < room && (count = read(fd, text + used, room - used)) != 0) {
		if (count < 0) {
			code = fg_error_set(error, -errno, "%.200s: %s", path, strerror(errno));
			goto close_file;
		}
		used += (size_t)count;
	}
	if (used == room)
		code = fg_error_set(error, -EFBIG, "%.200s: more than %d bytes", path,
				    FG_MODELS_CONFIG_MAX_BYTES);
	else
		code = fg_models_config_parse(rules, path, text, used, error);
close_file:
	close(fd);
free_text:
	free(text);
	return code;
}

/* ---- options ---- */

void fg_models_config_from_flags(struct fg_rules *rules, const char *repository,
				 enum fg_rules_policy policy)
{
	memset(rules, 0, sizeof(*rules));
	snprintf(rules->repository, sizeof(rules->repository), "%s", repository);
	rules->defaults.policy = policy;
	rules->defaults.count = policy == FG_RULES_LATEST;
}

int fg_models_config_read(struct fg_rules *rules, const struct fg_config *config,
			  struct fg_error *error)
{
	fg_models_config_from_flags(rules, config->repository,
				    config->policy == FG_POLICY_MANUAL ? FG_RULES_MANUAL
								       : FG_RULES_LATEST);
	if (!config->models_config[0])
		return 0;
	return fg_models_config_load(rules, config->models_config, error);
}
