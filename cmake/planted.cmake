# SPDX-License-Identifier: Apache-2.0
# Planted bugs: copies of sources with one text replaced.

# um_planted_copy(name path from to): the source with the text replaced, under mutants/<name>/<path>.
function(um_planted_copy name path from to)
  set(source ${CMAKE_SOURCE_DIR}/src/${path})
  set(copy ${CMAKE_BINARY_DIR}/mutants/${name}/${path})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(READ ${source} text)
  string(FIND "${text}" "${from}" first)
  string(FIND "${text}" "${from}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "mutant ${name}: '${from}' must stand exactly once in ${path}")
  endif()
  string(REPLACE "${from}" "${to}" text "${text}")
  if(NOT EXISTS ${copy})  # none, or one of another file, which would be included, too
    file(REMOVE_RECURSE ${CMAKE_BINARY_DIR}/mutants/${name})
  endif()
  set(old "")
  if(EXISTS ${copy})
    file(READ ${copy} old)
  endif()
  if(NOT old STREQUAL text)
    file(WRITE ${copy} "${text}")
  endif()
endfunction()
