# Saves the variables of the R kernel that it runs in, and restores them. R 3.5 or later; needs no package.
#
# The agent carries it into the session and has it evaluated in an environment of its own: it never prints, and leaves
# no name behind. All variables are one list in one stream, so what they share they share again, and functions of the
# global environment find the new one. A save is a folder:
#
#     manifest.json     says that there is one, and since when
#     variables.rds     packages, place, options, and what was left out and why; behind it the variables
#
# R writes a pointer out of R (a connection's, a database's) as an empty one, without a word. So what holds one is
# looked for, by writing each variable to nowhere, and left out. Restoring may run what was saved: it is for the owner's
# own session only.

MANIFEST <- "manifest.json"
DATA <- "variables.rds"
KEPT_S <- 30 * 24 * 3600 # after so long without a new one, saves of other kernels are removed
LONGEST <- 200L # characters of what is said of one variable
OPTIONS <- c("contrasts", "digits", "digits.secs", "max.print", "mc.cores", "na.action", "OutDec", "scipen",
             "stringsAsFactors", "timeout", "warn", "width")
KERNELS_OWN <- ".pbd_env" # of its sockets
KERNEL_OPTIONS <- "^(repr|jupyter)[.]"

# Save

# Save to the folder that the environment names; say in the file `report` how that went. `ask` is told back.
save <- function(report, ask, seconds) {
  say(report, c(list(ask = ask), attempt(save_to(Sys.getenv("BAI_SAVE_TO"), seconds))))
}

save_to <- function(folder, seconds) {
  mask <- Sys.umask("077")
  on.exit(Sys.umask(mask))
  dir.create(folder, showWarnings = FALSE, recursive = TRUE)
  found <- sort_out(globalenv(), Sys.time() + seconds)
  packages <- .packages()
  left_out <- c(found$left_out, attached_by_hand(packages))
  about <- list(cwd = getwd(), packages = rev(packages), options = options_now(), left_out = left_out)
  draft <- tempfile("draft-", folder)
  on.exit(unlink(draft), add = TRUE)
  bytes <- write_both(draft, about, found$values)
  move(draft, file.path(folder, DATA))
  mark(folder)
  clean(folder)
  list(variables = length(found$values), bytes = bytes, left_out = left_out)
}

# Those that can be saved, and what is said of the others.
sort_out <- function(env, deadline) {
  values <- list()
  left_out <- list()
  harmless <- harmless_pointers(env)
  for (name in setdiff(ls(env, all.names = TRUE), KERNELS_OWN)) {
    value <- NULL
    why <- if (Sys.time() > deadline) {
      "there was no time left for it"
    } else if (bindingIsActive(as.name(name), env)) {
      "an active binding"
    } else {
      tryCatch(never(value <- get(name, envir = env, inherits = FALSE), harmless), error = conditionMessage)
    }
    if (is.null(why)) values[name] <- list(value) else left_out <- c(left_out, said(name, class(value)[[1]], why))
  }
  list(values = values, left_out = left_out)
}

# Why it cannot be saved, or NULL. Fails as the object does.
never <- function(value, harmless) {
  if (inherits(value, "connection")) return("a connection")
  holds <- FALSE
  nowhere <- file("/dev/null", "wb")
  on.exit(close(nowhere))
  serialize(laid_open(value), nowhere, xdr = FALSE, refhook = function(one) {
    is_pointer <- typeof(one) %in% c("externalptr", "weakref")
    if (is_pointer && !any(vapply(harmless, identical, NA, one))) holds <<- TRUE
    NULL
  })
  if (holds) "it holds a connection, or another pointer out of R"
}

# An empty one loses nothing; the definition of each class has one that says only that it is not of a package.
harmless_pointers <- function(env) {
  classes <- mget(ls(env, pattern = "^[.]__C__", all.names = TRUE), envir = env)
  c(list(methods::new("externalptr")), lapply(unname(classes), methods::slot, "versionKey"))
}

# Something that holds what the value does, less the pointer of a data.table to itself, which that makes anew.
laid_open <- function(value) {
  if (!is.list(value)) return(value)
  attr(value, ".internal.selfref") <- NULL
  c(list(attributes(value)), lapply(unclass(value), laid_open))
}

options_now <- function() {
  now <- options()
  now <- now[names(now) %in% OPTIONS | grepl(KERNEL_OPTIONS, names(now))]
  now[vapply(now, is.atomic, NA)]
}

# What attach() has put into the search path is no variable, and no package.
attached_by_hand <- function(packages) {
  others <- setdiff(search(), c(".GlobalEnv", "Autoloads", paste0("package:", packages)))
  others <- others[!grepl("^(tools|jupyter):", others)]
  unlist(lapply(others, said, "attached", "only packages are attached again"), recursive = FALSE)
}

write_both <- function(path, about, values) {
  to <- file(path, "wb")
  size <- tryCatch({
    serialize(about, to, xdr = FALSE)
    serialize(values, to, xdr = FALSE)
    seek(to, NA)
  }, finally = close(to))
  if (file.size(path) != size) stop("it could not be written as a whole: the disk may be full", call. = FALSE)
  size
}

mark <- function(folder) {
  draft <- tempfile("draft-", folder)
  writeLines(sprintf('{"format": 1, "r": "%s", "data": "%s"}', getRversion(), DATA), draft)
  move(draft, file.path(folder, MANIFEST))
}

# Remove what a save is not made of, and saves of other kernels that are old. Failing does no harm.
clean <- function(folder) {
  unlink(setdiff(list.files(folder, full.names = TRUE), file.path(folder, c(DATA, MANIFEST))))
  manifests <- Sys.glob(file.path(dirname(dirname(folder)), "*", "*", MANIFEST))
  is_old <- as.numeric(Sys.time()) - as.numeric(file.mtime(manifests)) > KEPT_S
  old <- setdiff(dirname(manifests[is_old]), folder)
  unlink(old, recursive = TRUE)
  suppressWarnings(file.remove(unique(dirname(old)))) # those of sessions that have no other
}

# Wake

# Read in place of the user's profile, which is read too. Restores when IRkernel has been loaded: then the search path
# is as the kernel has it, and whatever R itself restores is there.
wake <- function(report) {
  Sys.unsetenv("R_PROFILE_USER") # it was for this process only
  profiles <- Filter(file.exists, c(".Rprofile", path.expand("~/.Rprofile")))
  if (length(profiles)) try(sys.source(profiles[[1]], globalenv()))
  begin <- function(...) restore(report)
  if (isNamespaceLoaded("IRkernel")) begin() else setHook(packageEvent("IRkernel", "onLoad"), begin)
}

# Restore what is in the folder that the environment names; say in the file `report` how that went.
restore <- function(report) {
  say(report, attempt(restore_from(Sys.getenv("BAI_WAKE_FROM"))))
}

restore_from <- function(folder) {
  path <- file.path(folder, DATA)
  if (!file.exists(path)) stop("it was not saved by a kernel of R", call. = FALSE)
  from <- file(path, "rb")
  on.exit(close(from))
  about <- unserialize(from)
  missing <- c(set_place(about$cwd), attach_all(about$packages))
  options(about$options)
  values <- unserialize(from)
  list2env(values, globalenv())
  methods::cacheMetaData(globalenv(), TRUE) # its classes and methods are known again
  list(variables = length(values), missing = missing, left_out = about$left_out)
}

set_place <- function(cwd) {
  tryCatch({
    setwd(cwd)
    NULL
  }, error = function(error) said(cwd, "", conditionMessage(error)))
}

attach_all <- function(packages) {
  try_one <- function(name) {
    tryCatch({
      suppressPackageStartupMessages(library(name, character.only = TRUE))
      NULL
    }, error = function(error) said(name, "package", conditionMessage(error)))
  }
  unlist(lapply(setdiff(packages, .packages()), try_one), recursive = FALSE)
}

# Both

attempt <- function(work) {
  tryCatch(
    suppressWarnings(suppressMessages(work)),
    error = function(error) list(error = conditionMessage(error)),
    interrupt = function(...) list(error = "it was interrupted")
  )
}

said <- function(name, type, why) list(list(name = name, type = type, why = why))

# All or nothing.
say <- function(report, how) {
  texts <- vapply(how[names(how) %in% c("ask", "error")], quoted, "")
  numbers <- vapply(how[names(how) %in% c("variables", "bytes")], format, "", scientific = FALSE, digits = 15)
  lists <- vapply(how[names(how) %in% c("left_out", "missing")], listed, "")
  fields <- c(texts, numbers, lists)
  draft <- tempfile("draft-", dirname(report))
  writeLines(paste0("{", paste0('"', names(fields), '": ', fields, collapse = ", "), "}"), draft, useBytes = TRUE)
  move(draft, report)
  invisible()
}

listed <- function(all) {
  one <- function(said) paste0("{", paste0('"', names(said), '": ', vapply(said, quoted, ""), collapse = ", "), "}")
  paste0("[", paste(vapply(all, one, ""), collapse = ", "), "]")
}

quoted <- function(text) {
  text <- iconv(enc2utf8(paste(text, collapse = " ")), "UTF-8", "UTF-8", sub = "?")
  text <- substr(gsub("[[:space:][:cntrl:]]+", " ", text), 1L, LONGEST)
  paste0('"', gsub('(["\\\\])', "\\\\\\1", text), '"')
}

move <- function(draft, path) {
  if (!file.rename(draft, path)) {
    unlink(draft)
    stop("there is no writing to ", path, call. = FALSE)
  }
}
