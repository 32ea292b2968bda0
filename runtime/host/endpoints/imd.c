/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IMD source: a client of a running simulation (LAMMPS `fix imd`, GROMACS -imdport, NAMD), versions 2 and 3 of the protocol. What the
 * protocol leaves out (version 2: box, types, masses, bonds, step) comes from a topology file and from parameters. A peer that dies,
 * stalls or lies ends the stream with a message; every wait has a limit. Runs on its I/O thread; wake() on any.
 */
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"
#include "runtime/host/endpoints/imd-stream.h"
#include "runtime/host/endpoints/topology.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct conf {
	char address[IOG_TEXT], topology[IOG_TEXT], unit[IOG_NAME];
	int64_t version, every, first, atoms, rate;
	double dt, timeout;
	uint32_t velocity, force, energies, reconnect;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, address, IOG_P_STRING, .flags = IOG_PF_FIRST, .def = "127.0.0.1:8888",
		.doc = "Host and port the simulation listens on."),
	IOG_PARAM(struct conf, topology, IOG_P_STRING, .flags = IOG_PF_READS,
		.doc = "LAMMPS data, .gro or .pdb file of the same system: gives the number of atoms, types, masses, bonds and the box."),
	IOG_PARAM(struct conf, every, IOG_P_INT, .def = "1", .min = 1, .max = 1e9,
		.doc = "Steps between frames, as the simulation was told; steps are counted with it where they are not sent."),
	IOG_PARAM(struct conf, first, IOG_P_INT, .def = "-1", .min = -1, .max = 9e15,
		.doc = "Step of the first frame, where steps are not sent; -1: one interval after step 0."),
	IOG_PARAM(
		struct conf, dt, IOG_P_NUMBER, .def = "1", .min = -1e30, .max = 1e30, .doc = "Time of one step, where times are not sent."),
	IOG_PARAM(struct conf, atoms, IOG_P_INT, .def = "0", .min = 0, .max = 1 << 30,
		.doc = "The most atoms there can be, when there is no topology."),
	IOG_PARAM(struct conf, version, IOG_P_INT, .def = "2", .min = 2, .max = 3,
		.doc = "Of the protocol. 3 sends box, step and time, and velocities and forces when asked for."),
	IOG_PARAM(struct conf, velocity, IOG_P_BOOL, .def = "false", .doc = "Take velocities (version 3)."),
	IOG_PARAM(struct conf, force, IOG_P_BOOL, .def = "false", .doc = "Take forces (version 3)."),
	IOG_PARAM(struct conf, energies, IOG_P_BOOL, .def = "false", .doc = "Take energies and temperature, where they are sent."),
	IOG_PARAM(struct conf, rate, IOG_P_INT, .def = "0", .min = 0, .max = 1e9, .unit = "steps",
		.doc = "Ask the simulation to send a frame every so many steps, instead of `every`; 0: do not ask."),
	IOG_PARAM(struct conf, timeout, IOG_P_SECONDS, .def = "30s", .min = 0.001, .max = 1e6,
		.doc = "How long to try to connect, and how long a frame may stop in the middle."),
	IOG_PARAM(struct conf, reconnect, IOG_P_BOOL, .def = "false",
		.doc = "When the simulation ends, wait for the next one at the same address (a new epoch) instead of ending the stream."),
	IOG_PARAM(struct conf, unit, IOG_P_STRING, .def = "Angstrom", .doc = "Unit of lengths."),
	{ .name = NULL },
};

static const char *const energy_name[9] = { "temperature", "energy", "potential_energy", "vdw_energy", "coulomb_energy", "bond_energy",
	"angle_energy", "dihedral_energy", "improper_energy" };

struct imd {
	struct conf conf;
	struct iog_schema schema;
	struct iog_topology topology;
	struct iog_pace pace; /* only its event descriptor */
	struct iog_imd stream;
	int fd;
	bool begun, waiting; /* waiting: between two simulations */
	uint64_t last_byte, deadline;
	int64_t frames; /* of this connection */
	int64_t last_step;
	uint32_t epochs, base_epoch;
	double box[9];
	int v_position, v_velocity, v_force, v_type, v_mass, v_bond, v_box, v_origin, v_energy[9];
	int d_atom;
};

static uint64_t seconds(double s) { return (uint64_t)(s * 1e9); }

/* ---- schema ---- */

static int add(struct iog_schema *s, const char *name, enum iog_dtype t, unsigned rank, const uint8_t *dims, const char *unit, bool fixed)
{
	int v = iog_schema_add_var(s, name, t, rank, dims, unit);
	if (v >= 0 && fixed)
		s->var[v].flags |= IOG_VAR_STATIC;
	return v < 0 ? v : 0;
}

static int make_schema(const struct conf *c, const struct iog_topology *t, struct iog_schema *s, struct iog_err *err)
{
	char per_time[IOG_NAME];
	*s = (struct iog_schema){ 0 };
	iog_format(per_time, sizeof per_time, "%s/ps", c->unit);
	int atom = iog_schema_add_dim(s, "atom", t ? t->atoms : c->atoms, t), xyz = iog_schema_add_dim(s, "xyz", 3, true);
	if (atom < 0 || xyz < 0)
		return iog_fail(err, -ENOSPC, "cannot make the dimensions");
	iog_strset(s->dim[xyz].labels, IOG_NAME, "x,y,z");
	const uint8_t ax[2] = { (uint8_t)atom, (uint8_t)xyz };
	int r = add(s, "position", IOG_F32, 2, ax, c->unit, false);
	if (c->velocity)
		r |= add(s, "velocity", IOG_F32, 2, ax, per_time, false);
	if (c->force)
		r |= add(s, "force", IOG_F32, 2, ax, "kJ/mol/Angstrom", false);
	if (t) {
		r |= add(s, "type", IOG_I32, 1, ax, "", true);
		if (t->mass)
			r |= add(s, "mass", IOG_F64, 1, ax, "u", true);
		if (t->bonds) {
			int bond = iog_schema_add_dim(s, "bond", t->bonds, true), end = iog_schema_add_dim(s, "end", 2, true);
			const uint8_t be[2] = { (uint8_t)bond, (uint8_t)end };
			r |= bond < 0 || end < 0 ? -1 : add(s, "bond", IOG_I32, 2, be, "", true);
		}
	}
	if (c->version == 3 || (t && t->has_box)) {
		int cell = iog_schema_add_dim(s, "cell", 3, true);
		if (cell < 0)
			return iog_fail(err, cell, "cannot make the dimensions");
		iog_strset(s->dim[cell].labels, IOG_NAME, "a,b,c");
		const uint8_t cx[2] = { (uint8_t)cell, (uint8_t)xyz };
		r |= add(s, "box", IOG_F64, 2, cx, c->unit, c->version == 2);
		if (t && t->has_box)
			r |= add(s, "box_origin", IOG_F64, 1, ax + 1, c->unit, true);
	}
	for (unsigned i = 0; c->energies && i < 9; i++)
		r |= add(s, energy_name[i], IOG_F32, 0, NULL, i ? "kJ/mol" : "K", false);
	if (r)
		return iog_fail(err, -EINVAL, "cannot make the schema; is \"unit\" a plain word?");
	return iog_schema_seal(s, err);
}

/* Host and port of "host:port", "[::1]:port"; 0 or -EINVAL. */
static int split_address(const char *a, char host[IOG_TEXT], char port[16], struct iog_err *err)
{
	const char *colon = strrchr(a, ':');
	size_t n = colon ? (size_t)(colon - a) : 0;
	bool brackets = n >= 2 && a[0] == '[' && a[n - 1] == ']';
	double p = 0;
	if (colon && iog_parse_number(colon + 1, iog_strlen(colon + 1), &p) == iog_strlen(colon + 1) && p >= 1 && p <= 65535 && n > 0 &&
		n < IOG_TEXT) {
		iog_format(host, IOG_TEXT, "%.*s", (int)(brackets ? n - 2 : n), brackets ? a + 1 : a);
		iog_format(port, 16, "%d", (int)p);
		return 0;
	}
	return iog_fail(err, -EINVAL, "\"address\" must be host:port with a port between 1 and 65535, got \"%s\"", a);
}

static int check(const struct conf *c, struct iog_err *err)
{
	char host[IOG_TEXT], port[16];
	if (c->version == 2 && (c->velocity || c->force))
		return iog_fail(err, -EINVAL,
			"version 2 of the protocol sends no %s; set version = 3 if the simulation speaks it, or leave it out",
			c->velocity ? "velocities" : "forces");
	return split_address(c->address, host, port, err);
}

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	const struct conf *c = conf;
	struct iog_topology t;
	int r = check(c, err);
	if (r < 0)
		return r;
	if (!c->topology[0] && c->atoms <= 0)
		return iog_fail(err, -EINVAL,
			"how many atoms are there? Give topology = \"melt.data\" (also .gro, .pdb), or atoms = N as an upper limit");
	if (!c->topology[0])
		return make_schema(c, NULL, s, err);
	if ((r = iog_topology_load(&t, c->topology, err)) < 0)
		return r;
	r = make_schema(c, &t, s, err);
	iog_topology_finish(&t);
	return r;
}

/* ---- connection ---- */

/* Waits for events of fd or a wake. 1: the event; 0: the limit came first; -1: a wake. */
static int wait_for(struct imd *m, short events, uint64_t until)
{
	uint64_t now = iog_endpoint_clock(), ns = until > now ? until - now : 0;
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	struct pollfd f[2] = { { .fd = m->pace.fd, .events = POLLIN }, { .fd = m->fd, .events = events } };
	int r = ppoll(f, 2, &t, NULL);
	if (r > 0 && f[1].revents)
		return 1;
	if (r > 0)
		iog_pace_drain(&m->pace);
	return r > 0 ? -1 : 0;
}

static void hang_up(struct imd *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

/* Tries every address once until `until`. 0 or -errno. */
static int connect_once(struct imd *m, uint64_t until, struct iog_err *err)
{
	char host[IOG_TEXT], port[16];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int r = split_address(m->conf.address, host, port, err);
	if (r < 0)
		return r;
	int g = getaddrinfo(host, port, &hints, &list);
	if (g)
		return iog_fail(err, -EHOSTUNREACH, "cannot look up \"%s\": %s", host, gai_strerror(g));
	r = -EHOSTUNREACH;
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		m->fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
		if (m->fd < 0) {
			r = -errno;
			continue;
		}
		int e = connect(m->fd, a->ai_addr, a->ai_addrlen) < 0 ? errno : 0;
		if (e == EINPROGRESS) {
			socklen_t n = sizeof e;
			if (wait_for(m, POLLOUT, until) != 1)
				e = ETIMEDOUT;
			else if (getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
				e = errno;
		}
		r = -e;
		if (!e)
			break;
		hang_up(m);
	}
	freeaddrinfo(list);
	if (r < 0)
		return iog_fail(err, r, "cannot connect to %s: %s", m->conf.address, iog_errno_text(-r));
	/* A host that vanishes without a word is noticed, too. */
	int one = 1, idle = 10, ms = (int)IOG_MIN(m->conf.timeout * 1000, 1e9);
	setsockopt(m->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	setsockopt(m->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(m->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
	setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return 0;
}

/* A header to the simulation: eight bytes always fit an idle socket. */
static int say(struct imd *m, uint32_t type, int32_t length)
{
	uint32_t h[2] = { __builtin_bswap32(type), __builtin_bswap32((uint32_t)length) };
	ssize_t n = send(m->fd, h, sizeof h, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n == sizeof h ? 0 : n < 0 ? -errno : -EIO;
}

/* Reads until something happened, or `until`. IOG_IMD_MORE: the limit came first. */
static enum iog_imd_event listen_to(struct imd *m, uint64_t until, struct iog_err *err)
{
	for (;;) {
		size_t n;
		uint8_t *p = iog_imd_room(&m->stream, &n);
		ssize_t got = recv(m->fd, p, n, MSG_DONTWAIT);
		if (got > 0) {
			enum iog_imd_event e = iog_imd_got(&m->stream, (size_t)got, err);
			m->last_byte = iog_endpoint_clock();
			if (e != IOG_IMD_MORE)
				return e;
			if (m->last_byte >= until)
				return IOG_IMD_MORE;
			continue;
		}
		if (got == 0 || (errno == ECONNRESET && !iog_imd_partial(&m->stream))) {
			if (!iog_imd_partial(&m->stream) && m->stream.ready)
				return IOG_IMD_END;
			iog_fail(err, -EPIPE, "the simulation at %s closed the connection %s", m->conf.address,
				m->stream.ready ? "in the middle of a frame; did it crash?"
						: "before it said what it is; is another client connected?");
			return IOG_IMD_BAD;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			iog_fail(err, -errno, "the connection to %s broke: %s", m->conf.address, iog_errno_text(errno));
			return IOG_IMD_BAD;
		}
		uint64_t now = iog_endpoint_clock(), stop = m->last_byte + seconds(m->conf.timeout);
		if (iog_imd_partial(&m->stream) && now >= stop) {
			iog_fail(err, -ETIMEDOUT, "the simulation at %s stopped in the middle of a frame for %g s; is it hung?",
				m->conf.address, m->conf.timeout);
			return IOG_IMD_BAD;
		}
		if (now >= until || wait_for(m, POLLIN, iog_imd_partial(&m->stream) ? IOG_MIN(until, stop) : until) < 0)
			return IOG_IMD_MORE;
	}
}

/* Hears who the simulation is and lets it go. 0 or -errno. */
static int greet(struct imd *m, uint64_t until, struct iog_err *err)
{
	iog_imd_init(&m->stream);
	m->last_byte = iog_endpoint_clock();
	m->frames = 0;
	enum iog_imd_event e;
	while ((e = listen_to(m, until, err)) == IOG_IMD_MORE && iog_endpoint_clock() < until)
		;
	if (e == IOG_IMD_MORE)
		return iog_fail(err, -ETIMEDOUT,
			"%s took the connection but said nothing for %g s; is it an IMD server, and is no other client "
			"connected?",
			m->conf.address, m->conf.timeout);
	if (e != IOG_IMD_READY)
		return e == IOG_IMD_END ? iog_fail(err, -EPIPE, "the simulation at %s ended the session at once", m->conf.address)
					: -EPROTO;
	int r = say(m, IOG_IMD_GO, 0);
	if (!r && m->conf.rate)
		r = say(m, IOG_IMD_TRATE, (int32_t)m->conf.rate);
	return r < 0 ? iog_fail(err, r, "the connection to %s broke: %s", m->conf.address, iog_errno_text(-r)) : 0;
}

static bool may_come(int e) { return e == -ECONNREFUSED || e == -EHOSTUNREACH || e == -ENETUNREACH || e == -ECONNRESET; }

static void finish(void *self)
{
	struct imd *m = self;
	if (!m)
		return;
	if (m->fd >= 0)
		(void)say(m, IOG_IMD_DISCONNECT, 0); /* so that the simulation goes on without us */
	hang_up(m);
	iog_pace_finish(&m->pace);
	iog_topology_finish(&m->topology);
	free(m->stream.position);
	free(m->stream.velocity);
	free(m->stream.force);
	free(m);
}

static int prepare(struct imd *m, struct iog_err *err)
{
	const struct conf *c = &m->conf;
	int r = check(c, err);
	if (!r && c->topology[0])
		r = iog_topology_load(&m->topology, c->topology, err);
	if (!r)
		r = iog_pace_init(&m->pace, 0, err);
	if (r < 0)
		return r;
	const struct iog_schema *s = &m->schema;
	const struct {
		const char *name;
		int *v;
	} find[] = { { "position", &m->v_position }, { "velocity", &m->v_velocity }, { "force", &m->v_force }, { "type", &m->v_type },
		{ "mass", &m->v_mass }, { "bond", &m->v_bond }, { "box", &m->v_box }, { "box_origin", &m->v_origin } };
	for (size_t i = 0; i < IOG_COUNT(find); i++)
		*find[i].v = iog_schema_var(s, find[i].name);
	for (unsigned i = 0; i < 9; i++)
		m->v_energy[i] = iog_schema_var(s, energy_name[i]);
	m->d_atom = iog_schema_dim(s, "atom");
	int64_t max = m->d_atom >= 0 ? s->dim[m->d_atom].max : 0;
	if (c->topology[0] && max != m->topology.atoms)
		return iog_fail(err, -ESTALE, "%s changed since the graph was checked: it has %lld atoms now, not %lld", c->topology,
			(long long)m->topology.atoms, (long long)max);
	if (m->v_position < 0 || (!c->topology[0] && max <= 0))
		return iog_fail(err, -EINVAL, "how many atoms are there? Give \"topology\", or \"atoms\" as an upper limit");
	m->stream.version = (uint32_t)c->version;
	m->stream.want_velocity = m->v_velocity >= 0;
	m->stream.want_force = m->v_force >= 0;
	m->stream.want_box = c->version == 3 && m->v_box >= 0;
	m->stream.want_energies = c->version == 3 && c->energies;
	m->stream.max_atoms = max;
	m->stream.atoms = c->topology[0] ? max : -1;
	/* Touched only as far as frames reach: a generous "atoms" costs nothing. */
	size_t n = (size_t)max + 1;
	m->stream.position = calloc(n, 12);
	m->stream.velocity = m->v_velocity >= 0 ? calloc(n, 12) : NULL;
	m->stream.force = m->v_force >= 0 ? calloc(n, 12) : NULL;
	if (!m->stream.position || (m->v_velocity >= 0 && !m->stream.velocity) || (m->v_force >= 0 && !m->stream.force))
		return iog_fail(err, -ENOMEM, "no memory for %lld atoms", (long long)max);
	for (unsigned i = 0; i < 9; i++)
		m->box[i] = m->topology.box[i];
	return 0;
}

static int begin(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err)
{
	struct imd *m = calloc(1, sizeof *m);
	if (!m)
		return iog_fail(err, -ENOMEM, "no memory");
	m->conf = *(const struct conf *)conf;
	m->schema = *schema;
	m->fd = m->pace.fd = -1;
	int r = prepare(m, err);
	uint64_t until = iog_endpoint_clock() + seconds(m->conf.timeout);
	while (!r && (r = connect_once(m, until, err)) < 0 && may_come(r) && iog_endpoint_clock() + 50000000 < until) {
		wait_for(m, 0, iog_endpoint_clock() + 50000000); /* the simulation may still be starting */
		r = 0;
	}
	if (r == -ECONNREFUSED)
		iog_fail(err, r,
			"nobody listens on %s after %g s; is the simulation running, with `fix imd` (LAMMPS) or -imdport (GROMACS)?",
			m->conf.address, m->conf.timeout);
	if (!r)
		r = greet(m, until, err);
	if (r < 0) {
		finish(m);
		return r;
	}
	*self = m;
	return 0;
}

/* ---- records ---- */

static bool energies_seen(const struct iog_imd *s) { return s->seen & 1u << IOG_IMD_ENERGIES; }

/* Step and time of the frame; a step that does not rise is a new epoch. */
static void stamp(struct imd *m, struct iog_out *o)
{
	const struct conf *c = &m->conf;
	const struct iog_imd *s = &m->stream;
	int64_t every = c->rate ? c->rate : c->every;
	int64_t step = m->frames ? m->last_step + every : c->first >= 0 ? c->first : every;
	if (s->seen & 1u << IOG_IMD_TIME)
		step = s->step;
	else if (energies_seen(s) && (!m->frames || s->energy_step > m->last_step))
		step = s->energy_step;
	if (!m->begun)
		m->base_epoch = o->rec.id.epoch, m->begun = true;
	else if (step <= m->last_step)
		m->epochs++;
	m->last_step = step;
	o->rec.step = step;
	o->rec.time = s->seen & 1u << IOG_IMD_TIME ? s->time : (double)step * c->dt;
	o->rec.id.seq = iog_seq_of_step(step);
	o->rec.id.epoch = m->base_epoch + m->epochs;
	m->frames++;
}

static bool fill(struct imd *m, struct iog_out *o)
{
	const struct iog_imd *s = &m->stream;
	const struct iog_topology *t = &m->topology;
	bool ok = iog_out_kept(o, m->v_position, 2, 4, s->n_atoms, 3, s->position);
	if (m->v_velocity >= 0)
		ok = ok && iog_out_kept(o, m->v_velocity, 2, 4, s->n_atoms, 3, s->velocity);
	if (m->v_force >= 0)
		ok = ok && iog_out_kept(o, m->v_force, 2, 4, s->n_atoms, 3, s->force);
	if (m->v_type >= 0)
		ok = ok && iog_out_kept(o, m->v_type, 1, 4, t->atoms, 0, t->type);
	if (m->v_mass >= 0)
		ok = ok && iog_out_kept(o, m->v_mass, 1, 8, t->atoms, 0, t->mass);
	if (m->v_bond >= 0)
		ok = ok && iog_out_kept(o, m->v_bond, 2, 4, t->bonds, 2, t->bond);
	for (unsigned i = 0; i < 9 && m->conf.version == 3; i++)
		m->box[i] = (double)s->box[i];
	if (m->v_box >= 0)
		ok = ok && iog_out_kept(o, m->v_box, 2, 8, 3, 3, m->box);
	if (m->v_origin >= 0)
		ok = ok && iog_out_kept(o, m->v_origin, 1, 8, 3, 0, t->origin);
	for (unsigned i = 0; i < 9; i++)
		if (m->v_energy[i] >= 0 && energies_seen(s))
			ok = ok && iog_out_kept(o, m->v_energy[i], 0, 4, 0, 0, &s->energy[i]);
	return ok;
}

/* The session is over. IOG_FATAL: so is the stream; IOG_HOLD: the next simulation is waited for. */
static enum iog_step over(struct imd *m)
{
	hang_up(m);
	if (!m->conf.reconnect)
		return IOG_FATAL;
	m->waiting = true;
	m->deadline = iog_endpoint_clock() + seconds(m->conf.timeout);
	return IOG_HOLD;
}

/* One attempt to find the next simulation. */
static enum iog_step again(struct imd *m, uint64_t until, struct iog_err *err)
{
	int r = connect_once(m, IOG_MIN(until, m->deadline), err);
	if (!r && (r = greet(m, m->deadline, err)) < 0)
		hang_up(m);
	if (!r) {
		m->waiting = false;
		m->epochs++;
		m->last_step = INT64_MIN;
		return IOG_HOLD;
	}
	if (!may_come(r) && r != -ETIMEDOUT && r != -EPIPE)
		return IOG_FATAL;
	err->text[0] = 0;
	if (iog_endpoint_clock() >= m->deadline)
		return IOG_FATAL; /* nobody came: the end */
	wait_for(m, 0, IOG_MIN(until, iog_endpoint_clock() + 50000000));
	return IOG_HOLD;
}

static enum iog_step next(void *self, struct iog_out *o, uint64_t limit_ns, struct iog_err *err)
{
	struct imd *m = self;
	uint64_t now = iog_endpoint_clock(), until = now + IOG_MIN(limit_ns, UINT64_MAX / 2);
	err->text[0] = 0;
	if (m->waiting)
		return again(m, until, err);
	if (m->fd < 0)
		return IOG_FATAL;
	switch (listen_to(m, until, err)) {
	case IOG_IMD_MORE:
	case IOG_IMD_READY: return IOG_HOLD;
	case IOG_IMD_END: return over(m);
	case IOG_IMD_BAD: hang_up(m); return IOG_FATAL;
	case IOG_IMD_FRAME: break;
	}
	o->used = 0, o->n_blocks = 0;
	o->rec.schema = &m->schema;
	o->rec.flags = 0;
	memset(o->rec.var, 0, m->schema.n_vars * sizeof o->rec.var[0]);
	for (uint32_t d = 0; d < m->schema.n_dims; d++)
		o->rec.axis[d] = (struct iog_axis){ .extent = m->schema.dim[d].max, .spacing = 1 };
	o->rec.axis[m->d_atom].extent = m->stream.n_atoms;
	stamp(m, o);
	if (!fill(m, o)) {
		iog_fail(err, 0, "the record has more variables than there is room for (%u)", o->max_blocks);
		return IOG_NO_SPACE;
	}
	return IOG_OK;
}

static void wake(void *self) { iog_pace_wake(&((struct imd *)self)->pace); }

extern const struct iog_source iog_source_imd;
const struct iog_source iog_source_imd = {
	.name = "imd",
	.summary = "Receives frames from a running simulation (LAMMPS fix imd, GROMACS, NAMD)",
	.params = params,
	.conf_size = sizeof(struct conf),
	.describe = describe,
	.open = begin,
	.next = next,
	.close = finish,
	.wake = wake,
};
