// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_order.h"

#include <gtest/gtest.h>

namespace unimax::emulator {
namespace {

TEST(Order, FollowsMeetingsAndWhatIsLeft) {
  Order order;
  order.Reset(3);
  const uint32_t first = order.Epoch(0);
  EXPECT_FALSE(order.Before(0, first, 0));
  order.Sync(0);
  EXPECT_TRUE(order.Before(0, first, 0));  // for the group itself
  EXPECT_FALSE(order.Before(0, first, 1));
  order.Meet({0, 1});
  EXPECT_TRUE(order.Before(0, first, 1));
  EXPECT_FALSE(order.Before(0, first, 2));
  Order::Clock clock;
  order.Leave(1, &clock);
  const uint32_t later = order.Epoch(1);
  order.Take(2, clock);
  EXPECT_TRUE(order.Before(0, first, 2));   // by way of group 1
  EXPECT_FALSE(order.Before(1, later, 2));  // what it does behind its last meeting
}

TEST(Order, GoesThroughWords) {
  Order order;
  order.Reset(2);
  const int word = 0, other = 0;
  const uint32_t first = order.Epoch(0);
  order.Sync(0);
  order.LeaveAt(0, &word);
  order.TakeFrom(1, &other);
  EXPECT_FALSE(order.Before(0, first, 1));
  order.TakeFrom(1, &word);
  EXPECT_TRUE(order.Before(0, first, 1));
}

}  // namespace
}  // namespace unimax::emulator
