/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of topology files: what each format gives, in which order, and that every mistake is named with its line. */
#include "runtime/host/endpoints/endpoint-test.h"
#include "runtime/host/endpoints/topology.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int parse(struct iog_topology *t, const char *text, enum iog_topology_format f, struct iog_err *err)
{
	/* Exactly as long as the text, so that a sanitizer sees a read behind it. */
	size_t n = strlen(text);
	char *copy = malloc(n ? n : 1);
	memcpy(copy, text, n);
	err->text[0] = 0;
	int r = iog_topology_parse(t, copy, n, f, "file", err);
	free(copy);
	return r;
}

static const char data[] = "a title with 99 atoms in it\n"
			   "\n"
			   "3 atoms\n2 bonds\n1 angles\n\n2 atom types\n1 bond types\n"
			   "-1.5 4 xlo xhi\n0 6.25 ylo yhi\n0 8 zlo zhi # a comment\n0.5 -0.25 0 xy xz yz\n"
			   "\nMasses\n\n1 15.9994 # O\n2 1.008\n"
			   "\nPair Coeffs\n\n1 0.1 3.1\n2 0 0\n"
			   "\nAtoms # full\n\n"
			   "30 1 2 0.4 1 1 1 0 0 0\n10 1 1 -0.8 0 0 0 0 0 0\n20 1 2 0.4 -1 0 1e-3 0 0 0\n"
			   "\nVelocities\n\n10 0 0 0\n20 0 0 0\n30 0 0 0\n"
			   "\nBonds\n\n1 1 10 20\n2 1 10 30\n"
			   "\nAngles\n\n1 1 20 10 30\n";

static void lammps(void **state)
{
	(void)state;
	struct iog_topology t;
	struct iog_err err;
	assert_int_equal(parse(&t, data, IOG_TOPOLOGY_LAMMPS, &err), 0);
	assert_int_equal(t.atoms, 3);
	const int32_t type[3] = { 1, 2, 2 }, bond[4] = { 0, 1, 0, 2 };
	assert_memory_equal(t.type, type, sizeof type);
	assert_true(t.mass[0] == 15.9994 && t.mass[2] == 1.008);
	assert_int_equal(t.bonds, 2);
	assert_memory_equal(t.bond, bond, sizeof bond);
	assert_true(t.has_box);
	const double box[9] = { 5.5, 0, 0, 0.5, 6.25, 0, -0.25, 0, 8 }, origin[3] = { -1.5, 0, 0 };
	assert_memory_equal(t.box, box, sizeof box);
	assert_memory_equal(t.origin, origin, sizeof origin);
	iog_topology_finish(&t);
}

static void lammps_styles(void **state)
{
	(void)state;
	/* style line, atom line, type expected; 0: an error that names the style */
	const struct {
		const char *hint, *atom;
		int type;
	} c[] = { { "", "1 2 0 0 0", 2 }, { "", "1 2 0 0 0 0 0 0", 2 }, { " # atomic", "1 3 0 0 0 7 8 9", 3 }, { "", "1 2 -0.5 0 0 0", 2 },
		{ "", "1 9 3 0 0 0", 3 }, { "", "1 7 3 -0.4 0 0 0", 3 }, { " # molecular", "1 9 2 1 1 1", 2 },
		{ " # charge", "1 3 1 0 0 0", 3 }, { "", "1 2 3", 0 }, { " # frobnicated", "1 2 0 0 0", 0 } };
	for (unsigned i = 0; i < IOG_COUNT(c); i++) {
		char text[300];
		struct iog_topology t;
		struct iog_err err;
		snprintf(text, sizeof text, "t\n\n1 atoms\n3 atom types\n\nAtoms%s\n\n%s\n", c[i].hint, c[i].atom);
		int r = parse(&t, text, IOG_TOPOLOGY_LAMMPS, &err);
		if (!c[i].type) {
			assert_int_equal(r, -EBADMSG);
			assert_non_null(strstr(err.text, "style"));
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(t.type[0], c[i].type);
		assert_null(t.mass);
		assert_false(t.has_box);
		iog_topology_finish(&t);
	}
}

static void mistakes(void **state)
{
	(void)state;
	const struct {
		int format;
		const char *text, *where;
	} c[] = {
		{ IOG_TOPOLOGY_LAMMPS, "", "empty" },
		{ IOG_TOPOLOGY_LAMMPS, "title\n", "no \"atoms\"" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n2 atoms\n1 atom types\nAtoms\n\n1 1 0 0 0\n", "announces 2" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n1 atoms\n1 atom types\nAtoms\n\n1 1 0 0 0\n2 1 0 0 0\n", "file:7" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n2000000000 atoms\n", "file:2" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n-1 atoms\n", "file:2" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n1 atoms\n1 atom types\nAtoms\n\n1 2 0 0 0\n", "file:6" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n1 atoms\n1 atom types\n5 1 xlo xhi\n", "file:4" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n2 atoms\n1 atom types\nAtoms\n\n1 1 0 0 0\n1 1 0 0 0\n", "two atoms" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n1 atoms\n1 bonds\n1 atom types\nAtoms\n\n1 1 0 0 0\n\nBonds\n\n1 1 1 5\n", "names atom 5" },
		{ IOG_TOPOLOGY_LAMMPS, "t\n1 atoms\n1 atom types\nMasses\n\n7 1\n", "file:6" },
		{ IOG_TOPOLOGY_GRO, "t", "GRO" },
		{ IOG_TOPOLOGY_GRO, "t\nx\n", "file:2" },
		{ IOG_TOPOLOGY_GRO, "t\n2\n    1SOL     OW    1   0.230   0.628   0.113\n", "announces 2" },
		{ IOG_TOPOLOGY_GRO, "t\n1\n    1SOL     OW\n", "file:3" },
		{ IOG_TOPOLOGY_GRO, "t\n0\n1 2\n", "file:3" },
		{ IOG_TOPOLOGY_GRO, "t\n0\n1 2 nan\n", "file:3" },
		{ IOG_TOPOLOGY_PDB, "HELLO\n", "no ATOM" },
		{ IOG_TOPOLOGY_PDB, "ATOM      1  N   ALA A   1\n", "file:1" },
		{ IOG_TOPOLOGY_PDB, "CRYST1   50.000   50.000   x50.00  90.00  90.00  90.00 P 1           1\n", "file:1" },
		{ IOG_TOPOLOGY_PDB, "ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00  0.00           N\nCONECT    1    7\n",
			"atom 7" },
	};
	for (unsigned i = 0; i < IOG_COUNT(c); i++) {
		struct iog_topology t;
		struct iog_err err;
		assert_int_equal(parse(&t, c[i].text, (enum iog_topology_format)c[i].format, &err), -EBADMSG);
		if (!strstr(err.text, c[i].where))
			fprintf(stderr, "# %s: %s\n", c[i].where, err.text);
		assert_non_null(strstr(err.text, c[i].where));
	}
}

static void gro(void **state)
{
	(void)state;
	static const char text[] = "Water and an ion\r\n  5\r\n"
				   "    1SOL     OW    1   0.230   0.628   0.113  0.0 0.0 0.0\r\n"
				   "    1SOL    HW1    2   0.260   0.690   0.090\r\n"
				   "    1SOL     MW    3   0.260   0.690   0.090\r\n"
				   "    2NA      NA    4   1.260   0.690   0.090\r\n"
				   "    3ALA     CA    5   1.260   0.690   0.090\r\n"
				   "   1.86206   2.00000   3.00000   0   0   0.1   0   0.2  0.3\r\n";
	struct iog_topology t;
	struct iog_err err;
	assert_int_equal(parse(&t, text, IOG_TOPOLOGY_GRO, &err), 0);
	assert_int_equal(t.atoms, 5);
	const int32_t type[5] = { 8, 1, 0, 11, 6 };
	assert_memory_equal(t.type, type, sizeof type);
	assert_true(fabs(t.mass[0] - 15.999) < 1e-5 && t.mass[2] == 0);
	assert_true(t.has_box && fabs(t.box[0] - 18.6206) < 1e-9 && fabs(t.box[3] - 1) < 1e-9 && fabs(t.box[6] - 2) < 1e-9 &&
		    fabs(t.box[7] - 3) < 1e-9);
	iog_topology_finish(&t);
	assert_int_equal(parse(&t, "nothing\n0\n0 0 0\n", IOG_TOPOLOGY_GRO, &err), 0);
	assert_int_equal(t.atoms, 0);
	assert_false(t.has_box);
	iog_topology_finish(&t);
}

static void pdb(void **state)
{
	(void)state;
	static const char text[] = "CRYST1   50.000   60.000   70.000  90.00  90.00 120.00 P 1           1\n"
				   "MODEL        1\n"
				   "ATOM      1  CA  ALA A   1      11.104   6.134  -6.504  1.00  0.00           C\n"
				   "ATOM      2 1HB  ALA A   1      11.104   6.134  -6.504  1.00  0.00\n"
				   "HETATM    9 CL    CL A   2      11.104   6.134  -6.504  1.00  0.00\n"
				   "ENDMDL\nMODEL        2\n"
				   "ATOM      1  CA  ALA A   1      11.104   6.134  -6.504  1.00  0.00           C\n"
				   "ENDMDL\n"
				   "CONECT    1    2    9\nCONECT    2    1\nCONECT    9    1\n";
	struct iog_topology t;
	struct iog_err err;
	assert_int_equal(parse(&t, text, IOG_TOPOLOGY_PDB, &err), 0);
	assert_int_equal(t.atoms, 3);
	const int32_t type[3] = { 6, 1, 17 }, bond[4] = { 0, 1, 0, 2 };
	assert_memory_equal(t.type, type, sizeof type);
	assert_int_equal(t.bonds, 2);
	assert_memory_equal(t.bond, bond, sizeof bond);
	assert_true(t.box[0] == 50 && t.box[8] == 70 && fabs(t.box[3] + 30) < 1e-9 && fabs(t.box[4] - 60 * sqrt(0.75)) < 1e-9);
	iog_topology_finish(&t);
}

/* Every prefix of a good file is either read or refused, and never read beyond. */
static void prefixes(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof data; n++) {
		char copy[sizeof data];
		struct iog_topology t;
		struct iog_err err;
		memcpy(copy, data, n);
		copy[n] = 0;
		for (unsigned f = 0; f < 3; f++)
			if (parse(&t, copy, (enum iog_topology_format)f, &err) == 0)
				iog_topology_finish(&t);
			else
				assert_true(err.text[0] != 0);
	}
}

static void files(void **state)
{
	(void)state;
	struct iog_topology t;
	struct iog_err err;
	const char *p = test_path("melt.data");
	test_write(p, data, sizeof data - 1);
	assert_int_equal(iog_topology_load(&t, p, &err), 0);
	assert_int_equal(t.atoms, 3);
	iog_topology_finish(&t);
	assert_int_equal(iog_topology_load(&t, test_path("missing.gro"), &err), -ENOENT);
	assert_non_null(strstr(err.text, "missing.gro"));
	assert_int_equal(iog_topology_guess("a/b.c/d.gro"), IOG_TOPOLOGY_GRO);
	assert_int_equal(iog_topology_guess("x.pdb"), IOG_TOPOLOGY_PDB);
	assert_int_equal(iog_topology_guess("data.melt"), IOG_TOPOLOGY_LAMMPS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lammps), cmocka_unit_test(lammps_styles), cmocka_unit_test(mistakes),
		cmocka_unit_test(gro), cmocka_unit_test(pdb), cmocka_unit_test(prefixes), cmocka_unit_test(files) };
	return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
