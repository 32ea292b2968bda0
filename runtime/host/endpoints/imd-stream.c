/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See imd-stream.h. The protocol: version 2 as in J. Stone, J. Gullingsrud, K. Schulten, "A system for interactive molecular dynamics
 * simulation" (2001) and the programs that speak it; version 3 as its published description has it. Runs on the caller's thread.
 */
#include "runtime/host/endpoints/imd-stream.h"

#include <errno.h>

enum { HEADER, BODY, SMALL, SKIP };

static const char *const type_name[IOG_IMD_TYPES] = { "DISCONNECT", "ENERGIES", "COORDINATES", "GO", "HANDSHAKE", "KILL", "MDCOMM", "PAUSE",
	"TRATE", "IOERROR", "SESSIONINFO", "RESUME", "TIME", "BOX", "VELOCITIES", "FORCES", "WAIT" };

static uint32_t bit(uint32_t type) { return 1u << type; }

static uint32_t big32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap32(v);
}

void iog_imd_init(struct iog_imd *m)
{
	m->seen = 0;
	m->n_atoms = -1;
	m->swap = m->shaken = m->ready = m->frame_out = false;
	m->state = HEADER;
	m->type = 0;
	m->have = 0;
	m->need = sizeof m->header;
	/* Version 2 sends energies or not as it likes; coordinates end a frame. */
	m->frame_mask = bit(IOG_IMD_COORDINATES);
}

static uint8_t *array(const struct iog_imd *m, uint32_t type)
{
	float *p = type == IOG_IMD_COORDINATES ? m->position : type == IOG_IMD_VELOCITIES ? m->velocity : m->force;
	return (uint8_t *)p;
}

uint8_t *iog_imd_room(struct iog_imd *m, size_t *n)
{
	*n = (size_t)(m->need - m->have);
	switch (m->state) {
	case HEADER: return m->header + m->have;
	case SMALL: return m->small + m->have;
	case BODY: return array(m, m->type) + m->have;
	}
	*n = IOG_MIN(*n, sizeof m->waste);
	return m->waste;
}

bool iog_imd_partial(const struct iog_imd *m) { return m->have || m->state != HEADER || (m->seen && !m->frame_out); }

static enum iog_imd_event bad(struct iog_err *err, const char *what, const char *why)
{
	iog_fail(err, -EBADMSG, "the simulation sent %s%s; this is not an IMD server, or the stream is damaged", what, why);
	return IOG_IMD_BAD;
}

static enum iog_imd_event handshake(struct iog_imd *m, struct iog_err *err)
{
	uint32_t v;
	memcpy(&v, m->header + 4, sizeof v);
	m->swap = v > 0xffff;
	v = m->swap ? __builtin_bswap32(v) : v;
	if (v != 2 && v != 3) {
		iog_fail(err, -EPROTO, "the simulation speaks version %u of the protocol; this program speaks 2 and 3", v);
		return IOG_IMD_BAD;
	}
	if (v != m->version) {
		iog_fail(err, -EPROTO, "the simulation speaks version %u of the protocol, not %u; set version = %u", v, m->version, v);
		return IOG_IMD_BAD;
	}
	m->shaken = true;
	m->ready = v == 2;
	return m->ready ? IOG_IMD_READY : IOG_IMD_MORE;
}

/* How many particles a packet has must be what is known of them. */
static bool count_fits(struct iog_imd *m, int64_t n, struct iog_err *err)
{
	if (n < 0)
		iog_fail(err, -EBADMSG, "the simulation sent %s of %lld atoms; the stream is damaged", type_name[m->type], (long long)n);
	else if (m->atoms >= 0 && n != m->atoms)
		iog_fail(err, -EBADMSG, "the simulation sent %s of %lld atoms, the topology has %lld; is it of this simulation?",
			type_name[m->type], (long long)n, (long long)m->atoms);
	else if (n > m->max_atoms)
		iog_fail(err, -EBADMSG,
			"the simulation sent %s of %lld atoms, more than \"atoms\" allows (%lld); raise it, or give a topology",
			type_name[m->type], (long long)n, (long long)m->max_atoms);
	else if (m->n_atoms >= 0 && n != m->n_atoms)
		iog_fail(err, -EBADMSG, "the simulation sent %s of %lld atoms after %lld; the number must not change", type_name[m->type],
			(long long)n, (long long)m->n_atoms);
	else
		return true;
	return false;
}

static void start(struct iog_imd *m, uint32_t state, uint64_t need)
{
	m->state = state;
	m->have = 0;
	m->need = need;
}

static enum iog_imd_event packet_done(struct iog_imd *m)
{
	start(m, HEADER, sizeof m->header);
	if ((m->seen & m->frame_mask) != m->frame_mask)
		return IOG_IMD_MORE;
	m->frame_out = true;
	return IOG_IMD_FRAME;
}

static enum iog_imd_event header(struct iog_imd *m, struct iog_err *err)
{
	/* Packets without a body that mean nothing to a reader. */
	const uint32_t idle = bit(IOG_IMD_GO) | bit(IOG_IMD_PAUSE) | bit(IOG_IMD_RESUME) | bit(IOG_IMD_TRATE) | bit(IOG_IMD_WAIT);
	const uint32_t data = bit(IOG_IMD_ENERGIES) | bit(IOG_IMD_COORDINATES) | bit(IOG_IMD_TIME) | bit(IOG_IMD_BOX) |
			      bit(IOG_IMD_VELOCITIES) | bit(IOG_IMD_FORCES);
	uint32_t type = big32(m->header);
	int64_t n = (int32_t)big32(m->header + 4);
	start(m, HEADER, sizeof m->header);
	if (!m->shaken)
		return type == IOG_IMD_HANDSHAKE ? handshake(m, err) : bad(err, "something else than a handshake first", "");
	if (type >= IOG_IMD_TYPES)
		return bad(err, "a packet of unknown type", "");
	m->type = type;
	if (type == IOG_IMD_DISCONNECT || type == IOG_IMD_KILL)
		return IOG_IMD_END;
	if (type == IOG_IMD_IOERROR) {
		iog_fail(err, -EIO, "the simulation reported an I/O error of its own");
		return IOG_IMD_BAD;
	}
	if (!m->ready) {
		if (type != IOG_IMD_SESSIONINFO || n != 7)
			return bad(err, type_name[type], " where it had to announce what it sends (SESSIONINFO with 7 bytes)");
		start(m, SMALL, 7);
		return IOG_IMD_MORE;
	}
	if (bit(type) & idle)
		return IOG_IMD_MORE;
	if (!(bit(type) & data))
		return bad(err, type_name[type], " in the middle of a session");
	if (m->version == 2 ? type != IOG_IMD_ENERGIES && type != IOG_IMD_COORDINATES : !(bit(type) & m->frame_mask))
		return bad(err, type_name[type], ", which it had not announced");
	if (m->frame_out)
		m->seen = 0, m->frame_out = false;
	if (m->seen & bit(type))
		return bad(err, type_name[type], " twice in one frame");
	switch (type) {
	case IOG_IMD_ENERGIES:
	case IOG_IMD_TIME:
	case IOG_IMD_BOX:
		if (n != 1)
			return bad(err, type_name[type], " with a length other than 1");
		start(m, SMALL, type == IOG_IMD_ENERGIES ? 40 : type == IOG_IMD_TIME ? 24 : 36);
		return IOG_IMD_MORE;
	}
	if (!count_fits(m, n, err))
		return IOG_IMD_BAD;
	m->n_atoms = n;
	if (n == 0) {
		m->seen |= bit(type);
		return packet_done(m);
	}
	start(m, array(m, type) ? BODY : SKIP, (uint64_t)n * 12);
	return IOG_IMD_MORE;
}

static uint32_t load32(const struct iog_imd *m, unsigned at)
{
	uint32_t v;
	memcpy(&v, m->small + at, sizeof v);
	return m->swap ? __builtin_bswap32(v) : v;
}
static uint64_t load64(const struct iog_imd *m, unsigned at)
{
	uint64_t v;
	memcpy(&v, m->small + at, sizeof v);
	return m->swap ? __builtin_bswap64(v) : v;
}

static void floats(const struct iog_imd *m, float *to, unsigned at, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t v = load32(m, at + 4 * i);
		memcpy(&to[i], &v, sizeof v);
	}
}

static enum iog_imd_event session(struct iog_imd *m, struct iog_err *err)
{
	/* time, energies, box, coordinates, whether they are wrapped, velocities, forces */
	static const uint8_t type[7] = { IOG_IMD_TIME, IOG_IMD_ENERGIES, IOG_IMD_BOX, IOG_IMD_COORDINATES, 0, IOG_IMD_VELOCITIES,
		IOG_IMD_FORCES };
	static const char *const name[7] = { "time", "energies", "box", "coordinates", "", "velocities", "forces" };
	const bool wanted[7] = { false, m->want_energies, m->want_box, true, false, m->want_velocity, m->want_force };
	m->frame_mask = 0;
	for (unsigned i = 0; i < 7; i++) {
		if (m->small[i] && type[i])
			m->frame_mask |= bit(type[i]);
		if (wanted[i] && !m->small[i]) {
			iog_fail(err, -EPROTO,
				"the simulation does not send %s; turn them on there, or leave them out of the source's parameters",
				name[i]);
			return IOG_IMD_BAD;
		}
	}
	m->ready = true;
	start(m, HEADER, sizeof m->header);
	return IOG_IMD_READY;
}

static enum iog_imd_event body(struct iog_imd *m, struct iog_err *err)
{
	uint64_t v;
	if (!m->ready)
		return session(m, err);
	m->seen |= bit(m->type);
	switch (m->type) {
	case IOG_IMD_TIME:
		v = load64(m, 0);
		memcpy(&m->dt, &v, sizeof v);
		v = load64(m, 8);
		memcpy(&m->time, &v, sizeof v);
		m->step = (int64_t)load64(m, 16);
		break;
	case IOG_IMD_ENERGIES:
		m->energy_step = (int32_t)load32(m, 0);
		floats(m, m->energy, 4, 9);
		break;
	case IOG_IMD_BOX: floats(m, m->box, 0, 9); break;
	default:
		if (m->swap && m->state == BODY) {
			uint8_t *p = array(m, m->type);
			for (uint64_t i = 0; i < m->need; i += 4) {
				uint32_t w;
				memcpy(&w, p + i, sizeof w);
				w = __builtin_bswap32(w);
				memcpy(p + i, &w, sizeof w);
			}
		}
	}
	return packet_done(m);
}

enum iog_imd_event iog_imd_got(struct iog_imd *m, size_t n, struct iog_err *err)
{
	m->have += n;
	if (m->have < m->need)
		return IOG_IMD_MORE;
	return m->state == HEADER ? header(m, err) : body(m, err);
}
