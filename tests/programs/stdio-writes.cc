// SPDX-License-Identifier: BSD-3-Clause
// Writes files in the ways of libc and C++ that capture follows: stdio-writes FOLDER. One file for each way, out.NAME.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <sys/uio.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

static std::string folder;
static std::string name(const char *of) { return folder + "/out." + of; }
static std::vector<char> bytes(size_t n, int salt)
{
	std::vector<char> v(n);
	for (size_t i = 0; i < n; i++)
		v[i] = char(i * 31 + i / 251 + size_t(salt));
	return v;
}
static void check(bool ok, const char *what)
{
	if (!ok) {
		std::perror(what);
		std::exit(1);
	}
}

static void with_stdio()
{
	const auto data = bytes(100000, 1);
	FILE *f = std::fopen(name("stdio").c_str(), "w+");
	check(f, "fopen");
	for (int i = 0; i < 3000; i++)
		std::fprintf(f, "line %d of %s\n", i, "text");
	std::fwrite(data.data(), 1, data.size(), f);
	check(fileno(f) > 2 && std::ftell(f) > 100000, "ftell");
	check(!std::fseek(f, 100, SEEK_SET), "fseek");
	std::fputs("over it", f);
	std::fflush(f);
	char back[8] = "";
	check(!std::fseek(f, 100, SEEK_SET) && std::fread(back, 1, 7, f) == 7 && !std::strcmp(back, "over it"), "fread");
	check(!ftruncate(fileno(f), 90000), "ftruncate");
	std::fclose(f);
	f = std::fopen(name("stdio").c_str(), "a");
	std::fputs("appended\n", f);
	std::fclose(f);
	f = fdopen(open(name("fdopen").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0666), "w");
	check(f, "fdopen");
	std::setvbuf(f, nullptr, _IOLBF, 0);
	std::fputs("a\nb", f);
	std::fclose(f);
	f = std::fopen(name("left").c_str(), "w"); // the end of the program closes it
	std::fputs("not flushed", f);
}

static void with_streams()
{
	const auto data = bytes(300000, 2);
	std::ofstream o(name("ofstream"), std::ios::binary);
	check(bool(o), "ofstream");
	o << "head " << 3.5 << "\n";
	o.write(data.data(), std::streamsize(data.size()));
	o.seekp(10);
	o << "over it";
	check(bool(o.flush()), "flush");
}

static void with_descriptors()
{
	const auto data = bytes(700000, 3);
	const int fd = open(name("fd").c_str(), O_CREAT | O_RDWR, 0644), copy = dup(fd);
	check(fd >= 0 && copy >= 0, "open");
	check(write(fd, data.data(), data.size()) == ssize_t(data.size()), "write");
	check(lseek(fd, 1000, SEEK_CUR) > 0, "lseek");
	const iovec v[] = { { (void *)data.data(), 5000 }, { (void *)"", 0 }, { (void *)(data.data() + 9), 3000 } };
	check(writev(copy, v, 3) == 8000, "writev");
	check(pwrite(fd, data.data() + 77, 600, 12345) == 600, "pwrite");
	check(pwritev(fd, v, 3, 400000) == 8000, "pwritev");
	check(!close(fd) && write(copy, "the end", 7) == 7, "write to a copy");
	check(!close(copy), "close");
	// The number is somebody else's now.
	const int other = open(name("fd").c_str(), O_RDONLY);
	check(other >= 0 && !close(other), "open");

	std::vector<std::thread> writers; // one file, many threads
	const int shared = open(name("threads").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
	for (int t = 0; t < 4; t++)
		writers.emplace_back([=] {
			const auto mine = bytes(1000, t);
			for (int i = 0; i < 200; i++)
				check(write(shared, mine.data(), mine.size()) == 1000, "write");
		});
	for (auto &t : writers)
		t.join();
	const pid_t child = fork(); // a child is not captured, and not hurt
	if (!child) {
		FILE *f = std::fopen((folder + "/child").c_str(), "w");
		_exit(f && std::fputs("child", f) >= 0 && !std::fclose(f) ? 0 : 1);
	}
	int status = 1;
	check(waitpid(child, &status, 0) == child && !status, "child");
	close(shared);
}

int main(int, char **argv)
{
	folder = argv[1];
	with_stdio();
	with_streams();
	with_descriptors();
	return 0;
}
