/* SPDX-License-Identifier: BSD-3-Clause */
/* Options and help of commands, from their tables. A mistake names the nearest right word. One thread. */
#include <stdarg.h>
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"

void iog_cli_help(const struct iog_cli_cmd *cmd)
{
	printf("usage: iog %s%s%s%s\n\n", cmd->name, cmd->opt[0].name ? " [options]" : "", cmd->args[0] ? " " : "", cmd->args);
	const char *p = cmd->about;
	while (*p) {
		size_t n = strcspn(p, "\n");
		char line[1024];
		snprintf(line, sizeof line, "%.*s", (int)n, p);
		if (n)
			iog_cli_wrap(stdout, "", line);
		else
			printf("\n");
		p += n + (p[n] == '\n');
	}
	printf("\noptions:\n");
	for (const struct iog_cli_opt *o = cmd->opt;; o++) {
		char left[64], letter[8] = "";
		bool help = !o->name;
		if (help || o->letter)
			snprintf(letter, sizeof letter, "-%c, ", help ? 'h' : o->letter);
		snprintf(left, sizeof left, "%s--%s%s%s", letter, help ? "help" : o->name, !help && o->value ? " " : "",
			!help && o->value ? o->value : "");
		printf("  %-22s %s\n", left, help ? "this text" : o->doc);
		if (help)
			break;
	}
	printf("\nexamples:\n");
	for (p = cmd->examples; *p;) {
		size_t n = strcspn(p, "\n");
		printf("  %.*s\n", (int)n, p);
		p += n + (p[n] == '\n');
	}
}

int iog_cli_usage(const struct iog_cli_cmd *cmd, const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "iog %s: ", cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see `iog %s --help`\n", cmd->name);
	return IOG_EXIT_USAGE;
}

static int end(struct iog_cli_args *a, int code)
{
	a->done = true;
	a->code = code;
	return IOG_ARG_END;
}

static int unknown(struct iog_cli_args *a, const char *given, size_t len)
{
	const char *names[32], *near;
	char name[64];
	size_t n = 0;
	for (const struct iog_cli_opt *o = a->cmd->opt; o->name && n < IOG_COUNT(names) - 1; o++)
		names[n++] = o->name;
	names[n++] = "help";
	snprintf(name, sizeof name, "%.*s", (int)len, given);
	near = iog_nearest(name + strspn(name, "-"), names, n);
	iog_cli_usage(a->cmd, "no option \"%s\"%s%s%s", name, near ? "; did you mean \"--" : "", near ? near : "", near ? "\"?" : "");
	return end(a, IOG_EXIT_USAGE);
}

int iog_cli_next(struct iog_cli_args *a)
{
	if (a->done || ++a->at >= a->argc)
		return IOG_ARG_END;
	const char *s = a->argv[a->at];
	if (!a->only_args && !strcmp(s, "--")) {
		a->only_args = true;
		return iog_cli_next(a);
	}
	if (a->only_args || s[0] != '-' || !s[1]) {
		a->value = s;
		return IOG_ARG_POSITIONAL;
	}
	if (!strcmp(s, "--help") || !strcmp(s, "-h")) {
		iog_cli_help(a->cmd);
		return end(a, iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED);
	}
	bool word = s[1] == '-';
	size_t len = strcspn(s, "=");
	for (int i = 0; a->cmd->opt[i].name; i++) {
		const struct iog_cli_opt *o = &a->cmd->opt[i];
		bool same =
			word ? strlen(o->name) == len - 2 && !memcmp(s + 2, o->name, len - 2) : o->letter && s[1] == o->letter && len == 2;
		if (!same)
			continue;
		a->value = s[len] ? s + len + 1 : NULL;
		if (o->value && !a->value && a->at + 1 < a->argc)
			a->value = a->argv[++a->at];
		if (o->value && !a->value) {
			iog_cli_usage(a->cmd, "--%s wants a value, as in --%s %s", o->name, o->name, o->value);
			return end(a, IOG_EXIT_USAGE);
		}
		if (!o->value && a->value) {
			iog_cli_usage(a->cmd, "--%s takes no value", o->name);
			return end(a, IOG_EXIT_USAGE);
		}
		return i;
	}
	return unknown(a, s, len);
}

bool iog_cli_number(struct iog_cli_args *a, const char *option, uint64_t least, uint64_t *n)
{
	char *rest;
	unsigned long long v = strtoull(a->value, &rest, 10);
	if (a->value[0] < '0' || a->value[0] > '9' || *rest || v < least || v > INT64_MAX) {
		iog_cli_usage(a->cmd, "--%s wants a whole number of %llu or more, got \"%s\"", option, (unsigned long long)least, a->value);
		end(a, IOG_EXIT_USAGE);
		return false;
	}
	*n = v;
	return true;
}

bool iog_cli_set(struct iog_cli_args *a, struct iog_lua_set *set, uint32_t *n)
{
	char *text = a->argv[a->at] + (a->value - a->argv[a->at]), *is = strchr(text, '=');
	if (!is || is == text)
		iog_cli_usage(a->cmd, "--set wants name=value, got \"%s\"", text);
	else if (*n == IOG_CLI_SETS)
		iog_cli_usage(a->cmd, "--set may be given %d times", IOG_CLI_SETS);
	else {
		*is = 0;
		set[(*n)++] = (struct iog_lua_set){ .name = text, .value = is + 1 };
		return true;
	}
	end(a, IOG_EXIT_USAGE);
	return false;
}

bool iog_cli_target(struct iog_cli_args *a, enum iog_target *t)
{
	const char *names[IOG_TARGETS];
	for (unsigned i = IOG_T_HOST; i < IOG_TARGETS; i++) {
		names[i - 1] = iog_target_name(i);
		if (!strcmp(names[i - 1], a->value)) {
			*t = (enum iog_target)i;
			return true;
		}
	}
	const char *near = iog_nearest(a->value, names, IOG_TARGETS - 1);
	iog_cli_usage(a->cmd, "--on wants host, sidecore or vm, got \"%s\"%s%s%s", a->value, near ? "; did you mean \"" : "",
		near ? near : "", near ? "\"?" : "");
	end(a, IOG_EXIT_USAGE);
	return false;
}
