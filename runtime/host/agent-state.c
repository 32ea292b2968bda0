/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an agent leaves for the one after it when it is killed: a folder beside its socket with the list of the graphs that are loaded, and the
 * snapshots of graphs (snapshots.c). One that ends in order leaves nothing. The folder is of this user alone; what is
 * read from it is checked all the same. The agent's thread; who listens at the socket owns the folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent-private.h"

static void path_of(const struct iog_agent *a, const char *name, char path[256]) { iog_format(path, 256, "%s/%s", a->state, name); }

/* Removes the files of the folder whose names begin so. */
static void sweep(const struct iog_agent *a, const char *prefix)
{
	DIR *d = opendir(a->state);
	for (const struct dirent *x; d && (x = readdir(d));)
		if (x->d_name[0] != '.' && !strncmp(x->d_name, prefix, strlen(prefix)))
			unlinkat(dirfd(d), x->d_name, 0);
	if (d)
		closedir(d);
}

int iog_agent_state_open(struct iog_agent *a, struct iog_err *err)
{
	struct stat st;
	iog_format(a->state, sizeof a->state, "%s.d", a->path);
	if (mkdir(a->state, 0700) && errno != EEXIST)
		return iog_fail(err, -errno, "making the folder %s: %s", a->state, strerror(errno));
	if (lstat(a->state, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return iog_fail(
			err, -EPERM, "%s is not a folder of this user alone; remove it, or choose another path for the socket", a->state);
	if (a->o.fresh)
		sweep(a, "");
	return 0;
}

void iog_agent_state_save(struct iog_agent *a)
{
	char path[256], next[256];
	if (!a->state[0] || !a->resumed)
		return;
	path_of(a, "loaded", path);
	path_of(a, "loaded.next", next);
	FILE *f = fopen(next, "we");
	if (!f) {
		iog_agent_say(a, "%s: %s: this would be lost if the agent were killed", next, strerror(errno));
		return;
	}
	for (uint32_t i = 0; i < a->n_runs; i++) {
		char *at = a->run[i]->state == WAITS || a->run[i]->state == RUNS ? realpath(a->run[i]->path, NULL) : NULL;
		if (at && !strpbrk(at, "\t\n"))
			fprintf(f, "graph\t%s\t%s\n", a->run[i]->name, at);
		free(at);
	}
	const bool bad = ferror(f);
	if (fclose(f) || bad || rename(next, path))
		iog_agent_say(a, "%s: %s: this would be lost if the agent were killed", path, strerror(errno));
}

void iog_agent_state_drop(struct iog_agent *a)
{
	if (!a->state[0] || !a->resumed)
		return;
	sweep(a, "");
	rmdir(a->state);
	a->state[0] = 0;
}

/* The hash of the file of a graph; 0: it cannot be read. */
static uint64_t text_key(const char *path)
{
	char part[4096];
	uint64_t key = 0;
	size_t n;
	FILE *f = fopen(path, "re");
	while (f && (n = fread(part, 1, sizeof part, f)))
		key = iog_hash(part, n, key);
	if (f)
		fclose(f);
	return key;
}

/* Names of graphs may have any letters: files are named by their hash. */
static void prefix_of(const struct run *r, char prefix[32])
{
	iog_format(prefix, 32, "%llx-", (unsigned long long)iog_hash(r->name, strlen(r->name), 0));
}

struct iog_engine_opts iog_agent_state_engine(struct iog_agent *a, struct run *r)
{
	struct iog_engine_opts o = a->o.engine;
	char prefix[32];
	if (!a->state[0])
		return o;
	prefix_of(r, prefix);
	iog_format(r->state_path, sizeof r->state_path, "%s/%s", a->state, prefix);
	o.state = r->state_path;
	o.state_key = text_key(r->path);
	return o;
}

void iog_agent_state_forget(struct iog_agent *a, const struct run *r)
{
	char prefix[32];
	prefix_of(r, prefix);
	if (a->state[0])
		sweep(a, prefix);
}

/* One line, "what<tab>name<tab>rest". False: it is none of ours. */
static bool line_take(struct iog_agent *a, char *line)
{
	char *name = strchr(line, '\t'), *rest = name ? strchr(name + 1, '\t') : NULL, *end = strchr(line, '\n');
	struct iog_err err = { "" };
	if (!rest || !end)
		return false;
	*name++ = *rest++ = *end = 0;
	if (!name[0] || strlen(name) >= IOG_STREAM_NAME || strlen(rest) >= sizeof a->run[0]->path)
		return false;
	if (strcmp(line, "graph"))
		return false;
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (!strcmp(a->run[i]->name, name))
			return true;
	iog_agent_say(a, "loads %s again, which the agent before had", rest);
	if (iog_agent_load(a, name, rest, NULL, &err))
		iog_agent_say(a, "graph %s: %s", name, err.text);
	return true;
}

void iog_agent_resume(struct iog_agent *a)
{
	char path[256], line[8192];
	path_of(a, "loaded", path);
	FILE *f = a->state[0] ? fopen(path, "re") : NULL;
	while (f && fgets(line, sizeof line, f))
		if (!line_take(a, line))
			iog_agent_say(a, "%s has a line that is not ours", path);
	if (f)
		fclose(f);
	a->resumed = true;
	iog_agent_state_save(a);
}
