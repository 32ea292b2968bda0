/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between an agent and those who attach: bytes of a hostile peer, through a socket as in real life. What is let through has a kind, texts that end,
 * and a schema that is none or as it says.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/host/attach.h"
#include "runtime/host/region.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = { -1, -1 };
	static struct iog_msg m, in;
	struct iog_err err = { "" };
	uint32_t n = 0;
	if (pair[0] < 0 && iog_fd_pair(pair, &err))
		abort();
	/* As it stands, and laid over a message that would pass: the fuzzer need not find the frame by itself. */
	for (int over = 0; over < 2 && size; over++) {
		const void *bytes = data;
		size_t length = size;
		if (over) {
			memset(&m, 0, sizeof m);
			memcpy(&m, data, size < sizeof m ? size : sizeof m);
			m.magic = IOG_ATTACH_MAGIC;
			m.kind = 1 + m.kind % (IOG_MSG_KINDS - 1);
			m.name[sizeof m.name - 1] = m.text[sizeof m.text - 1] = 0;
			bytes = &m, length = sizeof m;
		}
		if (iog_fd_send(pair[0], bytes, length, NULL, 0, 0, &err))
			continue;
		if (iog_msg_recv(pair[1], &in, NULL, &n, 0, &err) != 1)
			continue;
		if (!in.kind || memchr(in.name, 0, sizeof in.name) == NULL || memchr(in.text, 0, sizeof in.text) == NULL)
			abort();
		if (in.schema.id) {
			struct iog_schema s = in.schema;
			if (iog_schema_seal(&s, &err) || s.id != in.schema.id)
				abort();
		}
	}
	return 0;
}
