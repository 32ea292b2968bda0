/* SPDX-License-Identifier: BSD-3-Clause */
/* Topology files; see topology.h. Pure functions over text in memory but for iog_topology_load. Control path, any thread. */
#include "runtime/host/endpoints/topology.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORDS = 16 };

struct text {
	const char *p, *end, *name;
	int64_t line;
};
struct word {
	const char *s;
	size_t n;
};

/* The next line without its end; false at the end of the text. */
static bool next_line(struct text *t, struct word *line)
{
	if (t->p >= t->end)
		return false;
	const char *nl = memchr(t->p, '\n', (size_t)(t->end - t->p)), *e = nl ? nl : t->end;
	line->s = t->p;
	line->n = (size_t)(e - t->p);
	if (line->n && line->s[line->n - 1] == '\r')
		line->n--;
	t->p = nl ? nl + 1 : t->end;
	t->line++;
	return true;
}

/* Words of a line up to a '#'; returns how many there are, keeping the first WORDS. */
static unsigned split(struct word line, struct word w[WORDS])
{
	unsigned n = 0;
	for (size_t i = 0; i < line.n && line.s[i] != '#';) {
		if (line.s[i] == ' ' || line.s[i] == '\t') {
			i++;
			continue;
		}
		size_t from = i;
		while (i < line.n && line.s[i] != ' ' && line.s[i] != '\t' && line.s[i] != '#')
			i++;
		if (n < WORDS)
			w[n] = (struct word){ line.s + from, i - from };
		n++;
	}
	return n;
}

static bool is(struct word w, const char *s) { return iog_strlen(s) == w.n && !memcmp(w.s, s, w.n); }

static bool number(struct word w, double *v) { return w.n && iog_parse_number(w.s, w.n, v) == w.n && isfinite(*v); }

static bool integer(struct word w, int64_t *v)
{
	double d;
	if (!number(w, &d) || d != floor(d) || fabs(d) > 9e15)
		return false;
	*v = (int64_t)d;
	return true;
}

/* A field of fixed columns, without the blanks around it. */
static struct word field(struct word line, size_t from, size_t to)
{
	struct word w = { line.s, 0 };
	to = IOG_MIN(to, line.n);
	while (from < to && line.s[from] == ' ')
		from++;
	while (to > from && line.s[to - 1] == ' ')
		to--;
	if (from < to)
		w = (struct word){ line.s + from, to - from };
	return w;
}

static int complain(const struct text *t, struct iog_err *err, const char *what, struct word near)
{
	return iog_fail(
		err, -EBADMSG, "%s:%lld: %s, got \"%.*s\"", t->name, (long long)t->line, what, (int)IOG_MIN(near.n, (size_t)60), near.s);
}

static int no_memory(struct iog_err *err) { return iog_fail(err, -ENOMEM, "topology: no memory"); }

/* ---- LAMMPS data files ---- */

struct atom {
	int64_t id;
	int32_t type;
};
struct pair {
	int64_t a, b;
};

struct lammps {
	struct text text;
	int64_t atoms, bonds, types;
	double lo[3], hi[3], tilt[3]; /* tilt: xy, xz, yz */
	unsigned have;                /* bit d: lo and hi of axis d */
	struct atom *atom;
	struct pair *bond;
	double *mass; /* by type, from 1; NULL: no section Masses */
	int64_t n_atoms, n_bonds;
	size_t len;
};

static int by_id(const void *a, const void *b)
{
	const struct atom *x = a, *y = b;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* A count in the head: every one of them needs a line of at least two bytes further down. */
static int count(struct lammps *l, struct word w, int64_t *n, struct iog_err *err)
{
	if (!integer(w, n) || *n < 0)
		return complain(&l->text, err, "expected a number of 0 or more", w);
	if (*n > INT32_MAX || (uint64_t)*n > l->len / 2)
		return iog_fail(err, -EBADMSG, "%s:%lld: the head announces %lld, more than the file can hold", l->text.name,
			(long long)l->text.line, (long long)*n);
	return 0;
}

static int lammps_head(struct lammps *l, const struct word w[WORDS], unsigned n, struct iog_err *err)
{
	static const char *const lo[3] = { "xlo", "ylo", "zlo" };
	if (n == 2 && is(w[1], "atoms"))
		return count(l, w[0], &l->atoms, err);
	if (n == 2 && is(w[1], "bonds"))
		return count(l, w[0], &l->bonds, err);
	if (n == 3 && is(w[1], "atom") && is(w[2], "types"))
		return count(l, w[0], &l->types, err);
	for (unsigned d = 0; d < 3; d++)
		if (n == 4 && is(w[2], lo[d])) {
			if (!number(w[0], &l->lo[d]) || !number(w[1], &l->hi[d]) || !(l->hi[d] > l->lo[d]))
				return complain(&l->text, err, "expected two rising numbers before xlo xhi, ylo yhi or zlo zhi", w[0]);
			l->have |= 1u << d;
		}
	if (n == 6 && is(w[3], "xy"))
		for (unsigned d = 0; d < 3; d++)
			if (!number(w[d], &l->tilt[d]))
				return complain(&l->text, err, "expected three numbers before xy xz yz", w[d]);
	return 0; /* angles and so on: nothing we need */
}

/* Column of the type for an atom style; 0: not a style we know. */
static unsigned style_column(struct word style)
{
	static const char *const first[] = { "atomic", "charge", "sphere", "ellipsoid", "dipole", "peri", "body", "dpd", "electron", "meso",
		"sph", "spin", "edpd", "mdpd", "hybrid" };
	static const char *const second[] = { "bond", "angle", "molecular", "full", "line", "tri", "smd" };
	for (size_t i = 0; i < IOG_COUNT(first); i++)
		if (is(style, first[i]))
			return 1;
	for (size_t i = 0; i < IOG_COUNT(second); i++)
		if (is(style, second[i]))
			return 2;
	return 0;
}

/* Without a style behind "Atoms #", the number of columns tells; image flags are three more. */
static unsigned guess_column(const struct lammps *l, const struct word w[WORDS], unsigned n)
{
	int64_t v;
	switch (n) {
	case 5:
	case 8: return 1; /* atomic */
	case 6:
	case 9: return integer(w[2], &v) && v >= 1 && v <= l->types && !memchr(w[2].s, '.', w[2].n) ? 2 : 1; /* molecular or charge */
	case 7:
	case 10: return 2; /* full */
	}
	return 0;
}

static int lammps_atom(struct lammps *l, const struct word w[WORDS], unsigned n, unsigned *column, struct iog_err *err)
{
	int64_t id, type;
	if (!*column && !(*column = guess_column(l, w, n)))
		return iog_fail(err, -EBADMSG,
			"%s:%lld: cannot tell the atom style from %u columns; write it behind the section's name, as in "
			"\"Atoms # full\"",
			l->text.name, (long long)l->text.line, n);
	if (n < *column + 4)
		return complain(&l->text, err, "expected the columns of an atom (id, type, x, y, z)", w[0]);
	if (!integer(w[0], &id) || id < 1)
		return complain(&l->text, err, "expected the id of an atom, 1 or more", w[0]);
	if (!integer(w[*column], &type) || type < 1 || type > l->types)
		return complain(&l->text, err, "expected an atom type between 1 and \"atom types\"", w[*column]);
	if (l->n_atoms == l->atoms)
		return iog_fail(err, -EBADMSG, "%s:%lld: more atoms than the head announces (%lld)", l->text.name, (long long)l->text.line,
			(long long)l->atoms);
	l->atom[l->n_atoms++] = (struct atom){ .id = id, .type = (int32_t)type };
	return 0;
}

static int lammps_mass(struct lammps *l, const struct word w[WORDS], unsigned n, struct iog_err *err)
{
	int64_t type;
	double m;
	if (n != 2 || !integer(w[0], &type) || type < 1 || type > l->types || !number(w[1], &m))
		return complain(&l->text, err, "expected a type and its mass", w[0]);
	l->mass[type] = m;
	return 0;
}

static int lammps_bond(struct lammps *l, const struct word w[WORDS], unsigned n, struct iog_err *err)
{
	struct pair p;
	if (n != 4 || !integer(w[2], &p.a) || !integer(w[3], &p.b))
		return complain(&l->text, err, "expected a bond: its number, its type and two atom ids", w[0]);
	if (l->n_bonds == l->bonds)
		return iog_fail(err, -EBADMSG, "%s:%lld: more bonds than the head announces (%lld)", l->text.name, (long long)l->text.line,
			(long long)l->bonds);
	l->bond[l->n_bonds++] = p;
	return 0;
}

/* Index of an id; -1: no such atom. */
static int64_t find(const struct lammps *l, int64_t id)
{
	if (id >= 1 && id <= l->n_atoms && l->atom[id - 1].id == id)
		return id - 1;
	if (!l->n_atoms)
		return -1;
	const struct atom key = { .id = id }, *a = bsearch(&key, l->atom, (size_t)l->n_atoms, sizeof key, by_id);
	return a ? a - l->atom : -1;
}

static int lammps_result(struct lammps *l, struct iog_topology *t, struct iog_err *err)
{
	const char *name = l->text.name;
	if (!l->atoms && !l->have)
		return iog_fail(err, -EBADMSG,
			"%s: no \"atoms\" in the head: not a LAMMPS data file (.gro and .pdb are known by their endings)", name);
	if (l->n_atoms != l->atoms)
		return iog_fail(err, -EBADMSG, "%s: the head announces %lld atoms, the section Atoms has %lld", name, (long long)l->atoms,
			(long long)l->n_atoms);
	if (l->n_bonds != l->bonds)
		return iog_fail(err, -EBADMSG, "%s: the head announces %lld bonds, the section Bonds has %lld", name, (long long)l->bonds,
			(long long)l->n_bonds);
	if (l->n_atoms)
		qsort(l->atom, (size_t)l->n_atoms, sizeof *l->atom, by_id);
	t->atoms = l->n_atoms;
	t->bonds = l->n_bonds;
	t->type = calloc((size_t)t->atoms + 1, sizeof *t->type);
	t->mass = l->mass ? calloc((size_t)t->atoms + 1, sizeof *t->mass) : NULL;
	t->bond = calloc((size_t)t->bonds + 1, 2 * sizeof *t->bond);
	if (!t->type || !t->bond || (l->mass && !t->mass))
		return no_memory(err);
	for (int64_t i = 0; i < t->atoms; i++) {
		if (i && l->atom[i].id == l->atom[i - 1].id)
			return iog_fail(err, -EBADMSG, "%s: two atoms have the id %lld", name, (long long)l->atom[i].id);
		t->type[i] = l->atom[i].type;
		if (t->mass)
			t->mass[i] = l->mass[t->type[i]];
	}
	for (int64_t i = 0; i < t->bonds; i++) {
		int64_t a = find(l, l->bond[i].a), b = find(l, l->bond[i].b);
		if (a < 0 || b < 0)
			return iog_fail(err, -EBADMSG, "%s: bond %lld names atom %lld, which is not there", name, (long long)i + 1,
				(long long)(a < 0 ? l->bond[i].a : l->bond[i].b));
		t->bond[2 * i] = (int32_t)a, t->bond[2 * i + 1] = (int32_t)b;
	}
	if (l->have == 7) {
		t->has_box = true;
		for (unsigned d = 0; d < 3; d++)
			t->origin[d] = l->lo[d], t->box[4 * d] = l->hi[d] - l->lo[d];
		t->box[3] = l->tilt[0], t->box[6] = l->tilt[1], t->box[7] = l->tilt[2];
	}
	return 0;
}

static int parse_lammps(struct iog_topology *t, struct text text, struct iog_err *err)
{
	enum { HEAD, ATOMS, MASSES, BONDS, OTHER } section = HEAD;
	struct lammps l = { .text = text, .len = (size_t)(text.end - text.p) };
	struct word line, w[WORDS];
	unsigned column = 0, n;
	int r = 0;
	if (!next_line(&l.text, &line)) /* the title */
		return iog_fail(err, -EBADMSG, "%s: the file is empty", text.name);
	while (r == 0 && next_line(&l.text, &line)) {
		if (!(n = split(line, w)))
			continue;
		bool letter = (w[0].s[0] >= 'A' && w[0].s[0] <= 'Z') || (w[0].s[0] >= 'a' && w[0].s[0] <= 'z');
		if (letter) {
			if (section == HEAD && !l.atom) {
				l.atom = calloc((size_t)l.atoms + 1, sizeof *l.atom);
				l.bond = calloc((size_t)l.bonds + 1, sizeof *l.bond);
				if (!l.atom || !l.bond)
					r = no_memory(err);
			}
			section = n == 1 && is(w[0], "Atoms")    ? ATOMS
				  : n == 1 && is(w[0], "Masses") ? MASSES
				  : n == 1 && is(w[0], "Bonds")  ? BONDS
								 : OTHER;
			if (section == MASSES && !l.mass && !(l.mass = calloc((size_t)l.types + 1, sizeof *l.mass)))
				r = no_memory(err);
			const char *hash = section == ATOMS ? memchr(line.s, '#', line.n) : NULL;
			if (hash) {
				struct word rest = { hash + 1, (size_t)(line.s + line.n - hash - 1) };
				if (split(rest, w) && !(column = style_column(w[0])))
					r = complain(&l.text, err,
						"expected an atom style with columns we know (atomic, charge, bond, angle, molecular, full "
						"...)",
						w[0]);
			}
			continue;
		}
		switch (section) {
		case HEAD: r = lammps_head(&l, w, IOG_MIN(n, (unsigned)WORDS), err); break;
		case ATOMS: r = lammps_atom(&l, w, IOG_MIN(n, (unsigned)WORDS), &column, err); break;
		case MASSES: r = lammps_mass(&l, w, n, err); break;
		case BONDS: r = lammps_bond(&l, w, n, err); break;
		case OTHER: break;
		}
	}
	if (r == 0)
		r = lammps_result(&l, t, err);
	free(l.atom);
	free(l.bond);
	free(l.mass);
	return r;
}

/* ---- elements ---- */

/* Standard atomic weights (IUPAC 2021, abridged), by atomic number. */
static const struct {
	char symbol[3];
	float mass;
} elements[] = {
	{ "", 0 },
	{ "H", 1.008f },
	{ "HE", 4.0026f },
	{ "LI", 6.94f },
	{ "BE", 9.0122f },
	{ "B", 10.81f },
	{ "C", 12.011f },
	{ "N", 14.007f },
	{ "O", 15.999f },
	{ "F", 18.998f },
	{ "NE", 20.180f },
	{ "NA", 22.990f },
	{ "MG", 24.305f },
	{ "AL", 26.982f },
	{ "SI", 28.085f },
	{ "P", 30.974f },
	{ "S", 32.06f },
	{ "CL", 35.45f },
	{ "AR", 39.95f },
	{ "K", 39.098f },
	{ "CA", 40.078f },
	{ "SC", 44.956f },
	{ "TI", 47.867f },
	{ "V", 50.942f },
	{ "CR", 51.996f },
	{ "MN", 54.938f },
	{ "FE", 55.845f },
	{ "CO", 58.933f },
	{ "NI", 58.693f },
	{ "CU", 63.546f },
	{ "ZN", 65.38f },
	{ "GA", 69.723f },
	{ "GE", 72.630f },
	{ "AS", 74.922f },
	{ "SE", 78.971f },
	{ "BR", 79.904f },
	{ "KR", 83.798f },
	{ "RB", 85.468f },
	{ "SR", 87.62f },
	{ "Y", 88.906f },
	{ "ZR", 91.224f },
	{ "NB", 92.906f },
	{ "MO", 95.95f },
	{ "TC", 97.f },
	{ "RU", 101.07f },
	{ "RH", 102.91f },
	{ "PD", 106.42f },
	{ "AG", 107.87f },
	{ "CD", 112.41f },
	{ "IN", 114.82f },
	{ "SN", 118.71f },
	{ "SB", 121.76f },
	{ "TE", 127.60f },
	{ "I", 126.90f },
	{ "XE", 131.29f },
	{ "CS", 132.91f },
	{ "BA", 137.33f },
};

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

/* Atomic number of a symbol of n letters, 0 when there is none. */
static int32_t element(const char *s, size_t n)
{
	for (size_t z = 1; n && n <= 2 && z < IOG_COUNT(elements); z++)
		if (upper(s[0]) == elements[z].symbol[0] && (n == 2 ? upper(s[1]) : 0) == elements[z].symbol[1])
			return (int32_t)z;
	return 0;
}

/* From an atom's name: ions carry the name of their residue, some names are unmistakable, else the first letter counts. */
static int32_t element_of_name(struct word atom, struct word residue)
{
	static const char *const sure[] = { "CL", "BR", "FE", "ZN", "MG", "SI", "LI", "AL" };
	while (atom.n && (*atom.s < 'A' || (*atom.s > 'Z' && *atom.s < 'a') || *atom.s > 'z'))
		atom.s++, atom.n--;
	if (atom.n >= 2) {
		char two[2] = { upper(atom.s[0]), upper(atom.s[1]) };
		bool take = residue.n >= 2 && upper(residue.s[0]) == two[0] && upper(residue.s[1]) == two[1] && residue.n <= 3;
		for (size_t i = 0; i < IOG_COUNT(sure); i++)
			take |= !memcmp(two, sure[i], 2);
		if (take && element(two, 2))
			return element(two, 2);
	}
	return atom.n ? element(atom.s, 1) : 0;
}

static int set_atom(struct iog_topology *t, int64_t i, int32_t z)
{
	t->type[i] = z;
	t->mass[i] = (double)elements[z].mass;
	return 0;
}

/* Room for one atom more than there is. */
static int grow(struct iog_topology *t, int64_t *room, struct iog_err *err)
{
	if (t->atoms < *room)
		return 0;
	if (t->atoms >= INT32_MAX / 2)
		return iog_fail(err, -E2BIG, "topology: more than %d atoms", INT32_MAX / 2);
	int64_t n = *room ? 2 * *room : 1024;
	int32_t *type = realloc(t->type, (size_t)n * sizeof *type);
	if (type)
		t->type = type;
	double *mass = realloc(t->mass, (size_t)n * sizeof *mass);
	if (mass)
		t->mass = mass;
	if (!type || !mass)
		return no_memory(err);
	*room = n;
	return 0;
}

/* ---- GRO ---- */

static int parse_gro(struct iog_topology *t, struct text text, struct iog_err *err)
{
	struct word line, w[WORDS];
	int64_t n, room = 0;
	if (!next_line(&text, &line) || !next_line(&text, &line))
		return iog_fail(err, -EBADMSG, "%s: expected a title and a number of atoms: not a GRO file", text.name);
	if (split(line, w) != 1 || !integer(w[0], &n) || n < 0)
		return complain(&text, err, "expected the number of atoms alone on the second line", line);
	for (int64_t i = 0; i < n; i++) {
		if (!next_line(&text, &line))
			return iog_fail(err, -EBADMSG, "%s: the second line announces %lld atoms, the file has %lld", text.name,
				(long long)n, (long long)i);
		if (line.n < 44)
			return complain(&text, err, "expected an atom in fixed columns (44 or more)", line);
		int r = grow(t, &room, err);
		if (r < 0)
			return r;
		set_atom(t, t->atoms++, element_of_name(field(line, 10, 15), field(line, 5, 10)));
	}
	/* Boxes are in nm: v1x v2y v3z, then v1y v1z v2x v2z v3x v3y for those that are not rectangular. */
	static const unsigned place[9] = { 0, 4, 8, 1, 2, 3, 5, 6, 7 };
	unsigned k = next_line(&text, &line) ? split(line, w) : 0;
	if (k != 3 && k != 9)
		return complain(&text, err, "expected a box of 3 or 9 numbers behind the atoms", k ? line : (struct word){ "", 0 });
	double sum = 0;
	for (unsigned i = 0; i < k; i++) {
		if (!number(w[i], &t->box[place[i]]))
			return complain(&text, err, "expected a box of 3 or 9 numbers behind the atoms", w[i]);
		t->box[place[i]] *= 10;
		sum += fabs(t->box[place[i]]);
	}
	t->has_box = sum > 0;
	return 0;
}

/* ---- PDB ---- */

static int by_pair(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	return x->a != y->a ? (x->a < y->a ? -1 : 1) : x->b < y->b ? -1 : x->b > y->b;
}

static int parse_cell(struct iog_topology *t, const struct text *text, struct word line, struct iog_err *err)
{
	static const unsigned from[6] = { 6, 15, 24, 33, 40, 47 }, to[6] = { 15, 24, 33, 40, 47, 54 };
	const double rad = 3.14159265358979323846 / 180;
	double v[6];
	for (unsigned i = 0; i < 6; i++)
		if (!number(field(line, from[i], to[i]), &v[i]))
			return complain(text, err, "expected a, b, c, alpha, beta and gamma in the columns of CRYST1", line);
	if (v[0] <= 1 && v[1] <= 1 && v[2] <= 1)
		return 0; /* what programs write when there is no cell */
	if (!(v[0] > 0 && v[1] > 0 && v[2] > 0) || !(v[3] > 0 && v[3] < 180) || !(v[4] > 0 && v[4] < 180) || !(v[5] > 0 && v[5] < 180))
		return complain(text, err, "expected lengths greater than 0 and angles between 0 and 180 in CRYST1", line);
	/* 90 degrees are exact: cos() would leave 6e-17 behind. */
	double c[3];
	for (unsigned i = 0; i < 3; i++)
		c[i] = fabs(v[3 + i] - 90) < 1e-9 ? 0 : cos(v[3 + i] * rad);
	double sg = sqrt(1 - c[2] * c[2]), cx = c[1], cy = (c[0] - c[1] * c[2]) / sg, cz = 1 - cx * cx - cy * cy;
	if (!(cz > 0))
		return complain(text, err, "expected angles that make a cell in CRYST1", line);
	const double box[9] = { v[0], 0, 0, v[1] * c[2], v[1] * sg, 0, v[2] * cx, v[2] * cy, v[2] * sqrt(cz) };
	memcpy(t->box, box, sizeof box);
	t->has_box = true;
	return 0;
}

struct pdb {
	struct atom *serial; /* id: the serial, type: the index */
	struct pair *bond;
	int64_t n_serials, n_bonds, serial_room, bond_room;
};

static void *more(void *p, int64_t n, int64_t *room, size_t size)
{
	if (n < *room)
		return p;
	int64_t k = *room ? 2 * *room : 1024;
	void *q = realloc(p, (size_t)k * size);
	if (q)
		*room = k;
	return q;
}

static int pdb_line(struct iog_topology *t, struct pdb *x, const struct text *text, struct word line, int64_t *room, struct iog_err *err)
{
	struct word kind = field(line, 0, 6);
	int64_t serial;
	if (is(kind, "CRYST1"))
		return parse_cell(t, text, line, err);
	if (is(kind, "ATOM") || is(kind, "HETATM")) {
		if (line.n < 54)
			return complain(text, err, "expected an atom in fixed columns (54 or more)", line);
		int r = grow(t, room, err);
		if (r < 0)
			return r;
		struct word symbol = field(line, 76, 78);
		int32_t z = element(symbol.s, symbol.n);
		/* Serials above 99999 are written in many ways; such atoms take part in no CONECT record. */
		if (integer(field(line, 6, 11), &serial)) {
			void *p = more(x->serial, x->n_serials, &x->serial_room, sizeof *x->serial);
			if (!p)
				return no_memory(err);
			x->serial = p;
			x->serial[x->n_serials++] = (struct atom){ .id = serial, .type = (int32_t)t->atoms };
		}
		return set_atom(t, t->atoms++, z ? z : element_of_name(field(line, 12, 16), field(line, 17, 20)));
	}
	if (is(kind, "CONECT") && integer(field(line, 6, 11), &serial)) {
		for (size_t c = 11; c < 31; c += 5) {
			int64_t other;
			if (!integer(field(line, c, c + 5), &other))
				continue;
			void *p = more(x->bond, x->n_bonds, &x->bond_room, sizeof *x->bond);
			if (!p)
				return no_memory(err);
			x->bond = p;
			x->bond[x->n_bonds++] = (struct pair){ IOG_MIN(serial, other), IOG_MAX(serial, other) };
		}
	}
	return 0;
}

/* Serials to indices; every bond once. */
static int pdb_bonds(struct iog_topology *t, struct pdb *x, const char *name, struct iog_err *err)
{
	if (!x->n_bonds)
		return 0;
	if (x->n_serials)
		qsort(x->serial, (size_t)x->n_serials, sizeof *x->serial, by_id);
	qsort(x->bond, (size_t)x->n_bonds, sizeof *x->bond, by_pair);
	if (!(t->bond = calloc((size_t)x->n_bonds, 2 * sizeof *t->bond)))
		return no_memory(err);
	for (int64_t i = 0; i < x->n_bonds; i++) {
		if (x->bond[i].a == x->bond[i].b || (i && !by_pair(&x->bond[i], &x->bond[i - 1])))
			continue;
		for (unsigned k = 0; k < 2; k++) {
			const struct atom key = { .id = k ? x->bond[i].b : x->bond[i].a };
			const struct atom *a = x->n_serials ? bsearch(&key, x->serial, (size_t)x->n_serials, sizeof key, by_id) : NULL;
			if (!a)
				return iog_fail(err, -EBADMSG, "%s: CONECT names atom %lld, which is not there", name, (long long)key.id);
			t->bond[2 * t->bonds + k] = a->type;
		}
		t->bonds++;
	}
	return 0;
}

static int parse_pdb(struct iog_topology *t, struct text text, struct iog_err *err)
{
	struct pdb x = { 0 };
	struct word line;
	int64_t room = 0;
	bool model_over = false;
	int r = 0;
	while (r == 0 && next_line(&text, &line)) {
		struct word kind = field(line, 0, 6);
		model_over |= is(kind, "ENDMDL");
		if (!model_over || is(kind, "CONECT")) /* further models repeat the same atoms */
			r = pdb_line(t, &x, &text, line, &room, err);
	}
	if (r == 0 && !t->atoms)
		r = iog_fail(err, -EBADMSG, "%s: no ATOM or HETATM records: not a PDB file, or an empty one", text.name);
	if (r == 0)
		r = pdb_bonds(t, &x, text.name, err);
	free(x.serial);
	free(x.bond);
	return r;
}

/* ---- */

enum iog_topology_format iog_topology_guess(const char *path)
{
	const char *dot = strrchr(path, '.');
	if (dot && iog_streq(dot, ".gro"))
		return IOG_TOPOLOGY_GRO;
	return dot && (iog_streq(dot, ".pdb") || iog_streq(dot, ".ent")) ? IOG_TOPOLOGY_PDB : IOG_TOPOLOGY_LAMMPS;
}

int iog_topology_parse(
	struct iog_topology *t, const char *text, size_t len, enum iog_topology_format format, const char *name, struct iog_err *err)
{
	struct text x = { .p = text, .end = text + len, .name = name };
	*t = (struct iog_topology){ 0 };
	int r = format == IOG_TOPOLOGY_GRO   ? parse_gro(t, x, err)
		: format == IOG_TOPOLOGY_PDB ? parse_pdb(t, x, err)
					     : parse_lammps(t, x, err);
	if (r < 0)
		iog_topology_finish(t);
	return r;
}

int iog_topology_load(struct iog_topology *t, const char *path, struct iog_err *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = iog_fail(err, -errno, "topology: cannot open %s: %s", path, iog_errno_text(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > 1ll << 36) {
		r = iog_fail(err, -EINVAL, "topology: %s is not a regular file of at most 64 GiB", path);
		goto out;
	}
	char *text = malloc((size_t)st.st_size + 1);
	r = text ? iog_read_at(fd, text, (size_t)st.st_size, 0) : -ENOMEM;
	if (r < 0)
		iog_fail(err, r, "topology: cannot read %s: %s", path, iog_errno_text(-r));
	else
		r = iog_topology_parse(t, text, (size_t)st.st_size, iog_topology_guess(path), path, err);
	free(text);
out:
	if (fd >= 0)
		close(fd);
	return r;
}

void iog_topology_finish(struct iog_topology *t)
{
	free(t->type);
	free(t->mass);
	free(t->bond);
	*t = (struct iog_topology){ 0 };
}
