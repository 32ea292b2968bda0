/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves records from a source straight to a sink, without a graph: for tests of endpoints that need a program to look at or to kill.
 *
 *     endpoint-pump SOURCE name=value... -- SINK name=value...
 *
 * Prints "resume STEP" when the sink found records, then "ack STEP" after every durable flush (every 5 records), "end" at the end.
 * Records the sink already has are not written again. Exits with 1 and a message on failure.
 */
#include "runtime/host/endpoints/endpoint-test.h"

static const char *pair[64];
static unsigned n_pairs;

static char **parse(char **arg)
{
	n_pairs = 0;
	for (; *arg && strcmp(*arg, "--"); arg++) {
		char *eq = strchr(*arg, '=');
		if (!eq || n_pairs + 2 >= IOG_COUNT(pair)) {
			fprintf(stderr, "endpoint-pump: expected name=value, got %s\n", *arg);
			exit(2);
		}
		*eq = 0;
		pair[n_pairs++] = *arg, pair[n_pairs++] = eq + 1;
	}
	pair[n_pairs] = NULL;
	return arg;
}

static int fail(const struct iog_err *err)
{
	fprintf(stderr, "%s\n", err->text);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: endpoint-pump SOURCE name=value... -- SINK name=value...\n");
		return 2;
	}
	struct test_feed f;
	const struct iog_source *source = test_source(argv[1]);
	char **arg = parse(argv + 2);
	if (!*arg || !arg[1])
		return 2;
	if (test_feed_open(&f, source, test_conf(source->params, source->conf_size, pair)) < 0)
		return fail(&f.err);
	const struct iog_sink *sink = test_sink(arg[1]);
	parse(arg + 2);
	void *conf = test_conf(sink->params, sink->conf_size, pair), *self;
	struct iog_err err = { "" };
	struct iog_id last;
	bool any = false;
	enum iog_step r;
	int status = 0;
	if (sink->accept(conf, &f.schema, &err) < 0 || sink->open(conf, &f.schema, &self, &err) < 0)
		return fail(&err);
	if (sink->recover && sink->recover(self, &last, &any, &err) < 0)
		return fail(&err);
	if (any)
		printf("resume %lld\n", (long long)(last.seq ^ 1ull << 63));
	unsigned k = 0;
	while ((r = test_feed_next(&f, TEST_SECOND)) == IOG_OK || r == IOG_HOLD) {
		if (r == IOG_HOLD || (any && iog_id_order(&f.out.rec.id, &last) <= 0))
			continue;
		if (sink->write(self, &f.out.rec, &err) != IOG_OK) {
			status = fail(&err);
			break;
		}
		if (++k % 5 == 0) {
			if (sink->flush(self, &err) != IOG_OK) {
				status = fail(&err);
				break;
			}
			printf("ack %lld\n", (long long)f.out.rec.step);
			fflush(stdout);
		}
	}
	if (sink->close(self, &err) < 0 && !status)
		status = fail(&err);
	if (f.err.text[0])
		status = fail(&f.err);
	free(conf);
	test_feed_close(&f);
	if (!status)
		printf("end\n");
	return status;
}
