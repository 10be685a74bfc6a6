"""Small input folders with one oddity each, made up: what must become of them stands in `tests/data/test_cases.py`.

Every folder is made by the function of its name from a plain pair of tables, whose sizes hold by construction. A
table is a list of rows of texts with the header first, so that row ``n - 1`` is line ``n`` of the file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from random import Random

from lightning_lp.data.sources.synthetic import FIRST_WORDS, GENRES, SECOND_WORDS

Table = list[list[str]]
Files = dict[str, bytes]
Oddity = Callable[[Table, Table], Files | None]

BOM = "\ufeff"
MOVIES, RATINGS = "movies.csv", "ratings.csv"
TEN_GENRES = sorted(GENRES)[:10]
TITLES = [f"{first} {second}" for second, first in product(SECOND_WORDS, FIRST_WORDS)]

ODDITIES: dict[str, Oddity] = {}
"""By the name of the folder: what changes the plain movies and ratings in place, or returns the files to write."""


def oddity(make: Oddity) -> Oddity:
    ODDITIES[make.__name__] = make
    return make


def write_odd_inputs(root: Path) -> Path:
    """Write a folder for each oddity into `root`. Returns `root`."""
    for name, make in ODDITIES.items():
        movies, ratings = plain()
        files = make(movies, ratings) or csv_files(movies, ratings)
        (root / name).mkdir(parents=True)
        for file, content in files.items():
            (root / name / file).write_bytes(content)
    return root


# The plain tables


def deal(deck: Iterable[int], total: int, hands: int) -> list[list[int]]:
    """Hands of distinct cards, `total` in all and as equal in size as can be; every card comes up as often."""
    random, dealt = Random(total), Counter(dict.fromkeys(deck, 0))
    dealt_hands = []
    for i in range(hands):
        count = total * (i + 1) // hands - total * i // hands
        hand = sorted(dealt, key=lambda card: (dealt[card], random.random()))[:count]
        dealt.update(hand)
        dealt_hands.append(sorted(hand))
    return dealt_hands


def movies_table(num: int, genres: Sequence[str]) -> Table:
    """Movies 1 to `num` with one or two of the genres each."""
    random = Random(num)
    rows = [
        [str(movie), f"{TITLES[movie]} ({random.randrange(1950, 2020)})", "|".join(genres[i] for i in hand)]
        for movie, hand in enumerate(deal(range(len(genres)), 5 * num // 3, num), start=1)
    ]
    return [["movieId", "title", "genres"], *rows]


def ratings_table(rated: Sequence[list[int]]) -> Table:
    """A row for each movie of each user, the first of whom is user 1; whole stars, and no time twice."""
    random = Random(len(rated))
    links = [(user, movie) for user, movies in enumerate(rated, start=1) for movie in movies]
    times = random.sample(range(1_000_000_000, 1_300_000_000), len(links))
    rows = [
        [str(user), str(movie), f"{random.randint(1, 5)}.0", str(time)]
        for (user, movie), time in zip(links, times, strict=True)
    ]
    return [["userId", "movieId", "rating", "timestamp"], *rows]


def plain() -> tuple[Table, Table]:
    """32 users, 48 movies, 10 genres, and 440 ratings, of which 111 are of the last 15 movies."""
    early, late = deal(range(1, 34), 329, 32), deal(range(34, 49), 111, 32)
    return movies_table(48, TEN_GENRES), ratings_table([a + b for a, b in zip(early, late, strict=True)])


def lines(table: Table, separator: str = ",", end: str = "\n") -> bytes:
    """The table as a file: no quotes but those that the cells hold."""
    return "".join(separator.join(row) + end for row in table).encode()


def csv_files(movies: Table, ratings: Table, separator: str = ",") -> Files:
    return {MOVIES: lines(movies, separator), RATINGS: lines(ratings, separator)}


# What is odd


@oddity
def plain_control(movies: Table, ratings: Table) -> None:
    pass


# Separators and headers


@oddity
def semicolon_no_header(movies: Table, ratings: Table) -> Files:
    return csv_files(movies[1:], ratings[1:], ";")


@oddity
def no_header_ratings(movies: Table, ratings: Table) -> None:
    del ratings[0]


@oddity
def no_header_movies(movies: Table, ratings: Table) -> None:
    del movies[0]


@oddity
def semicolon_with_header(movies: Table, ratings: Table) -> Files:
    return csv_files(movies, ratings, ";")


@oddity
def ml1m_double_colon(movies: Table, ratings: Table) -> Files:
    whole_stars(ratings)
    return csv_files(movies[1:], ratings[1:], "::")


@oddity
def ml1m_dat_files(movies: Table, ratings: Table) -> Files:
    movies, ratings = ml1m_double_colon(movies, ratings).values()
    users = [[str(user), "FM"[user % 2], "25", str(user % 21), f"{10000 + user}"] for user in range(1, 33)]
    return {"movies.dat": movies, "ratings.dat": ratings, "users.dat": lines(users, "::")}


@oddity
def ml100k_tab_pipe(movies: Table, ratings: Table) -> Files:
    whole_stars(ratings)
    items = [
        [movie, title, f"01-Jan-{title[-5:-1]}", "", "", *("01"[name in genres.split("|")] for name in TEN_GENRES)]
        for movie, title, genres in movies[1:]
    ]
    genres = [[name, str(i)] for i, name in enumerate(TEN_GENRES)]
    return {"u.item": lines(items, "|"), "u.data": lines(ratings[1:], "\t"), "u.genre": lines(genres, "|")}


def whole_stars(ratings: Table) -> None:
    for row in ratings[1:]:
        row[2] = row[2].removesuffix(".0")


@oddity
def lowercase_headers(movies: Table, ratings: Table) -> None:
    movies[0], ratings[0] = ([name.lower() for name in table[0]] for table in (movies, ratings))


@oddity
def renamed_columns(movies: Table, ratings: Table) -> None:
    no_timestamp_column(movies, ratings)
    ratings[0][1] = "itemId"


@oddity
def no_timestamp_column(movies: Table, ratings: Table) -> None:
    for row in ratings:
        del row[3]


@oddity
def bom_and_index_columns(movies: Table, ratings: Table) -> None:
    for i, row in enumerate(ratings):
        row[:0] = [str(i - 1), str(i - 1)] if i else [BOM, "Unnamed: 0"]


@oddity
def bom_before_first_column(movies: Table, ratings: Table) -> None:
    for table in (movies, ratings):
        table[0][0] = BOM + table[0][0]


# Titles


@oddity
def unquoted_comma_title(movies: Table, ratings: Table) -> None:
    movies[20][1] = "Lamp, The (1971)"


@oddity
def unquoted_comma_first_row(movies: Table, ratings: Table) -> None:
    movies[1][1] = "Lamp, The (1971)"


@oddity
def quoted_comma_titles(movies: Table, ratings: Table) -> None:
    for movie in (3, 10, 22, 31, 44):
        movies[movie][1] = f'"{movies[movie][1][:-7]}, The {movies[movie][1][-6:]}"'
    movies[13][1] = '"A ""Loud"" Whisper, Again (1990)"'


@oddity
def steins_gate_cut_by_semicolon(movies: Table, ratings: Table) -> None:
    movies[46][1:] = ["Rain", ""]
    movies.append(movies[48])


@oddity
def same_title_two_ids(movies: Table, ratings: Table) -> None:
    movies[17][1:] = [movies[39][1], "Fantasy|Film-Noir"]


# Genres


@oddity
def no_genres_listed(movies: Table, ratings: Table) -> None:
    for movie in (5, 23, 41):
        movies[movie][2] = "(no genres listed)"


@oddity
def genre_cell_empty(movies: Table, ratings: Table) -> None:
    movies[7][2], movies[26][2], movies[34][2] = "", '""', "   "


@oddity
def few_genres(movies: Table, ratings: Table) -> None:
    movies[:] = movies_table(36, ["Comedy", "Drama", "War"])
    ratings[:] = ratings_table(deal(range(1, 37), 320, 24))


@oddity
def new_genre_later(movies: Table, ratings: Table) -> None:
    few_genres(movies, ratings)
    movies[11][2] += "|Western"


# Ids


@oddity
def duplicate_movie_rows(movies: Table, ratings: Table) -> None:
    movies.append(movies[48])


@oddity
def duplicate_movie_conflict(movies: Table, ratings: Table) -> None:
    movies.insert(31, ["9", "Nine Again (2001)", "Western"])


@oddity
def nan_ids(movies: Table, ratings: Table) -> None:
    for line, column in ((32, 0), (153, 0), (304, 0), (79, 1), (402, 1)):
        ratings[line - 1][column] = ""


@oddity
def float_ids(movies: Table, ratings: Table) -> None:
    for row in ratings[1::2]:
        row[0] += ".0"
    for row in ratings[1::3]:
        row[1] += ".0"


@oddity
def fractional_ids(movies: Table, ratings: Table) -> None:
    ratings[5][0] = "3.5"


@oddity
def string_ids(movies: Table, ratings: Table) -> None:
    for row in movies[1:]:
        row[0] = f"tt{7000 + int(row[0]):07}"
    for row in ratings[1:]:
        row[:2] = [f"u{int(row[0]):03}", f"tt{7000 + int(row[1]):07}"]


@oddity
def huge_ids(movies: Table, ratings: Table) -> None:
    rename(movies, 0, {"46": "193609", "47": "2147483653", "48": "1099511627776"})
    rename(ratings, 1, {"46": "193609", "47": "2147483653", "48": "1099511627776"})
    rename(ratings, 0, {"30": "900000", "31": "8589934593", "32": "1099511627779"})


@oddity
def ids_beyond_64_bits(movies: Table, ratings: Table) -> None:
    rename(ratings, 0, {"32": str(2**65)})


@oddity
def shifted_movie_ids(movies: Table, ratings: Table) -> None:
    rename(movies, 0, {str(movie): str(movie + 33) for movie in range(1, 49)})


@oddity
def no_movie_id_matches(movies: Table, ratings: Table) -> None:
    rename(movies, 0, {str(movie): str(movie + 1000) for movie in range(1, 49)})


def rename(table: Table, column: int, names: dict[str, str]) -> None:
    for row in table[1:]:
        row[column] = names.get(row[column], row[column])


# Ratings and times


@oddity
def zero_rating(movies: Table, ratings: Table) -> None:
    for row in ratings[5::34]:  # 13 of the 440
        row[2] = "0.0"


@oddity
def half_star_ratings(movies: Table, ratings: Table) -> None:
    """265 of 420 are 3.5 or more, and 162 are 4 or more: each of the 30 users has one of these, and 13 others."""
    random = Random(0)
    high = [random.choice(["4.0", "4.5", "5.0"]) for _ in range(162)]
    low = [random.choice(["0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]) for _ in range(420 - 265)]
    others = [*high[30:], *["3.5"] * (265 - 162), *low]
    random.shuffle(others)
    movies[:], ratings[:] = movies_table(40, TEN_GENRES), ratings_table(deal(range(1, 41), 420, 30))
    for i, row in enumerate(ratings[1:]):
        row[2] = others.pop() if i % 14 else high[i // 14]


@oddity
def text_in_timestamp(movies: Table, ratings: Table) -> None:
    for row in ratings[1:]:
        row[3] = datetime.fromtimestamp(int(row[3]), UTC).strftime("%Y-%m-%d %H:%M:%S")


@oddity
def url_in_timestamp(movies: Table, ratings: Table) -> None:
    ratings[124][3] = "https://example.org/a/page?x=1"


# Lines


@oddity
def mixed_line_endings(movies: Table, ratings: Table) -> Files:
    parts = lines(ratings[:300], end="\r\n"), lines(ratings[300:390]), lines(ratings[390:], end="\r\r\n")
    return {MOVIES: lines(movies, end="\r\n"), RATINGS: b"".join(parts) + b"\r\n\r\n"}


@oddity
def cr_only_line_endings(movies: Table, ratings: Table) -> Files:
    return {MOVIES: lines(movies), RATINGS: lines(ratings, end="\r")}


# Files that are no tables, or not there


@oddity
def html_page(movies: Table, ratings: Table) -> Files:
    page = b"<!DOCTYPE html>\n<html>\n<body>\n<p>The session has ended, log in again.</p>\n</body>\n</html>\n"
    return {MOVIES: lines(movies), RATINGS: page}


@oddity
def placeholder_text(movies: Table, ratings: Table) -> Files:
    return {MOVIES: lines(movies), RATINGS: b"The ratings are kept elsewhere.\n"}


@oddity
def empty_file(movies: Table, ratings: Table) -> None:
    ratings.clear()


@oddity
def empty_movies_file(movies: Table, ratings: Table) -> None:
    movies.clear()


@oddity
def header_only(movies: Table, ratings: Table) -> None:
    del ratings[1:]


@oddity
def header_only_movies(movies: Table, ratings: Table) -> None:
    del movies[1:]


@oddity
def missing_ratings_file(movies: Table, ratings: Table) -> Files:
    return {MOVIES: lines(movies)}


@oddity
def missing_movies_file(movies: Table, ratings: Table) -> Files:
    return {RATINGS: lines(ratings)}


# Users and movies


@oddity
def unrated_movies(movies: Table, ratings: Table) -> None:
    movies += [["49", "Nobody Saw This (2011)", "Drama"], ["50", "Nor This (2012)", "Comedy"]]


@oddity
def one_rating_user(movies: Table, ratings: Table) -> None:
    ratings.append(["33", "7", "4.0", "1150000000"])


@oddity
def one_more_user(movies: Table, ratings: Table) -> None:
    ratings += [["33", str(movie), "4.0", str(1_150_000_000 + movie)] for movie in (2, 5, 11, 20, 31, 47)]


@oddity
def isolated_after_split(movies: Table, ratings: Table) -> None:
    movies[:] = movies_table(50, TEN_GENRES)
    ratings[:] = ratings_table([*deal(range(1, 31), 300, 20), *([movie] for movie in range(31, 51))])
