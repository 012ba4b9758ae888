# SPDX-License-Identifier: Apache-2.0
"""The camera above the table: the pixels of gym-pusht, drawn by the same calls without the way round.

The original draws a picture of 512 pixels anew, copies it twice and samples it at 96; this one draws
pusher and block onto a prepared picture and samples that.
"""

from __future__ import annotations

import cv2
import numpy as np
import pygame
import pymunk
from gym_pusht.envs.pusht import PushTEnv
from gym_pusht.envs.pymunk_override import light_color
from numpy.typing import NDArray
from pymunk.space_debug_draw_options import SpaceDebugColor

from dd_ros.demo.table import GOAL, PUSHER_RADIUS, WALL_RADIUS, WALLS, WORLD, Point, Table

SIDE = int(WORLD)  # pixels of the picture that is drawn: one per unit
EDGE = 2  # half the width of the block's outline
RIM = 4  # of the pusher's disc
NEAR_WALLS = 5 + WALL_RADIUS + EDGE + 2
Pixel = tuple[int, int]


def _shades(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A colour, and its lighter shade."""
    colour = SpaceDebugColor(*pygame.Color(name))
    return colour.as_int(), light_color(colour).as_int()


PUSHER, BLOCK, WALL = _shades("RoyalBlue"), _shades("LightSlateGray"), _shades("LightGray")
CONTACT = (231, 76, 60, 255)


class Camera:
    """Takes pictures of a table.

    Args:
        size: width and height of the pictures in pixels.
    """

    def __init__(self, size: int):
        self._size = size
        # Four bytes per pixel, of which the last means nothing: pygame draws faster on them.
        self._pixels = np.full((SIDE, SIDE, 4), 255, np.uint8)
        self._screen = pygame.image.frombuffer(self._pixels.data, (SIDE, SIDE), "RGBX")
        self._draw_goal()
        self._draw_walls()
        self._empty = self._pixels.copy()

    def image(self, table: Table) -> NDArray[np.uint8]:
        """What is seen of ``table``, uint8 RGB [size, size, 3]."""
        np.copyto(self._pixels, self._empty)
        corners = [[_pixel(corner) for corner in part] for part in table.corners()]
        pusher = _pixel(table.pusher)
        self._draw(corners, pusher)
        if _near_walls([pusher, *corners[0], *corners[1]]):
            self._draw_walls()
        for start, end in table.contacts():
            pygame.draw.aalines(self._screen, CONTACT, False, [_pixel(start), _pixel(end)])
        sampled = cv2.resize(self._pixels, (self._size, self._size))
        return np.asarray(cv2.cvtColor(sampled, cv2.COLOR_RGBA2RGB), np.uint8)

    def _draw(self, corners: list[list[Pixel]], pusher: Pixel) -> None:
        for part in corners:
            pygame.draw.polygon(self._screen, BLOCK[1], part)
            for start, end in zip(part, part[1:] + part[:1], strict=True):
                self._draw_bar(start, end, BLOCK[0])
        pygame.draw.circle(self._screen, PUSHER[0], pusher, round(PUSHER_RADIUS))
        pygame.draw.circle(self._screen, PUSHER[1], pusher, round(PUSHER_RADIUS) - RIM)

    def _draw_goal(self) -> None:
        body = PushTEnv.get_goal_pose_body(GOAL)
        _, parts = PushTEnv.add_tee(pymunk.Space(), (256, 300), 0)
        for part in parts:
            corners = [_pixel(body.local_to_world(corner)) for corner in part.get_vertices()]
            pygame.draw.polygon(self._screen, pygame.Color("LightGreen"), corners)

    def _draw_walls(self) -> None:
        for start, end in WALLS:
            self._draw_bar(start, end, WALL[0])

    def _draw_bar(self, start: Pixel, end: Pixel, colour: tuple[int, ...]) -> None:
        """A line with round ends, as wide as walls and outlines are."""
        pygame.draw.lines(self._screen, colour, False, [start, end], 2 * EDGE)
        along = abs(end[1] - start[1]), abs(end[0] - start[0])
        scale = EDGE / (along[0] * along[0] + along[1] * along[1]) ** 0.5
        x, y = round(along[0] * scale), round(along[1] * scale)
        outline = [(start[0] - x, start[1] - y), (start[0] + x, start[1] + y)]
        outline += [(end[0] + x, end[1] + y), (end[0] - x, end[1] - y)]
        pygame.draw.polygon(self._screen, colour, outline)
        pygame.draw.circle(self._screen, colour, start, EDGE)
        pygame.draw.circle(self._screen, colour, end, EDGE)


def _pixel(point: Point) -> Pixel:
    return round(point[0]), round(point[1])


def _near_walls(points: list[Pixel]) -> bool:
    """Whether something at one of ``points`` is drawn where a wall is."""
    reach = NEAR_WALLS + round(PUSHER_RADIUS)
    return any(min(point) < reach or max(point) > SIDE - reach for point in points)
